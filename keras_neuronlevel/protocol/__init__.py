"""What the experiment scripts share: train and record, measure, evaluate, draw, write numbers."""
