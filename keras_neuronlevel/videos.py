"""Watching a neuron learn, as a film (E §4 points to such videos): GIF, or MP4 where there is ffmpeg.

A frame is a snapshot of the records file. Snapshots are taken, unless told otherwise, at recordings that lie
evenly in the logarithm of their number, so a film's time is not training's time; nothing is interpolated.
"""

import shutil
import subprocess
from pathlib import Path

import matplotlib
from matplotlib.animation import FFMpegWriter, PillowWriter

from keras_neuronlevel import checks, dynamics, files, plots
from keras_neuronlevel.records import Records

__all__ = ["ffmpeg", "render"]

BINS = 60
BEGIN, HOLD = 0.5, 2.0  # seconds that the first and the last frame stay longer


def render(
    records_path: Path | str,
    layer: str,
    unit: int,
    path: Path | str,
    *,
    fps: float = 4,
    width: int = 640,
) -> None:
    """Write the film of one neuron: histograms of its two categories, one frame a snapshot.

    The panels are those of ``dynamics.panels`` at all S snapshots, with step, epoch and the accuracy on the
    recorded samples. Each is shown for 1 / ``fps`` seconds, the first about half a second longer, the last
    two seconds; a GIF repeats.
    ``path`` ends in ``.gif`` or ``.mp4``; ``width`` is in pixels, the height two thirds of it, both even.
    The file appears when it is complete.

    Raises ``RecordsError`` for no such layer or file; ``ValueError`` for a neuron without snapshots, another
    ending, an unusable ``fps`` or ``width``, and for MP4 without ffmpeg; ``OSError`` where ffmpeg fails.
    """
    path = Path(path)
    size = _size(width)
    settings = _settings(path, fps)
    with Records(records_path) as records:
        neuron = dynamics.read(records, layer, [unit])[0]
    content = dynamics.panels(neuron, range(len(neuron.p)), BINS)
    figure = plots.video_figure(content, *size)
    with matplotlib.rc_context(settings), files.replacing(path) as temporary:
        writer = FFMpegWriter(fps, codec="h264") if settings else PillowWriter(fps)  # type: ignore[arg-type]
        try:
            _write(writer, figure, content, temporary, round(BEGIN * fps), round(HOLD * fps))
        except subprocess.CalledProcessError as error:
            raise OSError(f"ffmpeg could not write {path}: {(error.stderr or str(error)).strip()}") from None


def _write(writer, figure, content, path, begin, hold):
    plots.draw_frame(figure, content, 0)  # before the file is begun: it cannot be closed without a frame
    with writer.saving(figure, path, figure.dpi):
        for _ in range(1 + begin):
            writer.grab_frame()
        for i in range(1, len(content["moments"])):
            plots.draw_frame(figure, content, i)
            writer.grab_frame()
        for _ in range(hold):
            writer.grab_frame()


def _size(width):
    width = checks.whole("width", width, least=160, most=4096)
    return 2 * int(width / 2), 2 * round(width / 3)


def _settings(path, fps):
    """What matplotlib needs to write such a file: where ffmpeg is, or nothing for a GIF."""
    checks.number("fps", fps, least=0.1, most=50)
    ending = path.suffix.lower()
    if ending not in (".gif", ".mp4"):
        raise ValueError(f"a video is a .gif or an .mp4 file; {path} is neither")
    return {} if ending == ".gif" else {"animation.ffmpeg_path": ffmpeg()}


def ffmpeg() -> str:
    """The path of the ffmpeg program: that of the package imageio-ffmpeg, else the one that matplotlib is
    told of, by default ``ffmpeg`` on the PATH. Raises ``ValueError`` where there is neither."""
    try:
        import imageio_ffmpeg

        return imageio_ffmpeg.get_ffmpeg_exe()
    except (ImportError, RuntimeError):
        found = shutil.which(matplotlib.rcParams["animation.ffmpeg_path"])
    if found is None:
        raise ValueError(
            "an .mp4 needs the program ffmpeg, and there is none: `pip install imageio-ffmpeg` brings one; "
            "a .gif needs none"
        )
    return found
