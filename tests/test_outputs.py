"""What `-o` and `save` may be given, and what they leave behind when something goes wrong."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
import threading

import numpy as np
import pytest
from fresh import run_wkmeans

import wkmeans
from wkmeans import cli

for module in ("safetensors", "ml_dtypes", "rich"):
    pytest.importorskip(module, reason="needs the extra: pip install 'wkmeans[compress]'")
from safetensors.numpy import save_file  # noqa: E402

needs_fifo = pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no FIFOs")


@pytest.fixture
def model(tmp_path):
    path = tmp_path / "model.safetensors"
    save_file({"w": np.random.default_rng(0).standard_normal((32, 32), np.float32)}, path)
    return path


def compress(model, output):
    return cli.main(["compress", str(model), "--k", "4", "-o", str(output)])


@pytest.mark.parametrize("kind", ["same", "relative", "symlink", "hard link", "folder"])
def test_an_input_is_not_an_output(model, kind, monkeypatch, capsys):
    before = model.read_bytes()
    monkeypatch.chdir(model.parent)
    output, source = model, model
    if kind == "relative":
        output = "./model.safetensors"
    elif kind == "symlink":
        output = model.parent / "link"
        output.symlink_to(model)
    elif kind == "hard link":
        output = model.parent / "link"
        os.link(model, output)
    elif kind == "folder":
        source = model.parent
    assert compress(source, output) == 1
    error = capsys.readouterr().err
    assert "--output" in error and "is the input" in error and "name another" in error
    assert model.read_bytes() == before


def test_importances_are_not_an_output(model, capsys):
    pytest.importorskip("torch")
    importances = model.parent / "importances"
    importances.write_bytes(b"anything")
    arguments = ["compress", model, "--k", "4", "--importances", importances, "-o", importances]
    assert cli.main([str(argument) for argument in arguments]) == 1
    assert "is the input" in capsys.readouterr().err
    assert importances.read_bytes() == b"anything"


def test_decompress_does_not_replace_what_it_reads(model, capsys):
    small = model.parent / "small"
    assert compress(model, small) == 0
    before = small.read_bytes()
    assert cli.main(["decompress", str(small), "-o", str(small)]) == 1
    assert "is the input" in capsys.readouterr().err
    assert small.read_bytes() == before


def test_save_does_not_replace_what_was_compressed(model):
    before = model.read_bytes()
    compressed = wkmeans.compress(model, k=4)
    for save in (compressed.save, compressed.save_dense):
        with pytest.raises(ValueError, match=r"path: .* is the input .*, which it would replace"):
            save(model)
    assert model.read_bytes() == before


def test_an_earlier_output_in_the_same_folder_is_replaced(model):
    output = model.parent / "small.safetensors"
    assert compress(model.parent, output) == compress(model.parent, output) == 0
    assert list(wkmeans.load(output)) == ["w"]


@needs_fifo
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_pipe_is_written_into_and_stays_a_pipe(model, command):
    small = model.parent / "small"
    assert compress(model, small) == 0
    pipe, received = model.parent / "pipe", []
    os.mkfifo(pipe)
    reader = threading.Thread(target=lambda: received.append(pipe.read_bytes()))
    reader.start()
    arguments = [str(small)] if command == "decompress" else [str(model), "--k", "4"]
    assert cli.main([command, *arguments, "-o", str(pipe)]) == 0
    reader.join(timeout=60)
    assert stat.S_ISFIFO(os.stat(pipe).st_mode)
    regular = model.parent / "regular"
    assert cli.main([command, *arguments, "-o", str(regular)]) == 0
    assert received == [regular.read_bytes()]


def test_a_device_is_written_into_and_stays_a_device(model):
    """A character device of the test's own: the terminal end of a pseudo-terminal."""
    pty = pytest.importorskip("pty")
    controller, terminal = pty.openpty()
    import tty

    tty.setraw(terminal)
    received = bytearray()

    def read():
        while True:
            try:
                received.extend(os.read(controller, 65536))
            except OSError:
                return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    compressed = wkmeans.compress(model, k=4)
    name = os.ttyname(terminal)
    compressed.save(name)
    assert stat.S_ISCHR(os.stat(name).st_mode)
    import termios

    termios.tcdrain(terminal)
    os.close(terminal)
    reader.join(timeout=10)
    os.close(controller)
    assert bytes(received) == compressed.to_bytes()


@pytest.mark.skipif(not os.path.exists("/dev/stdout"), reason="this system has no /dev/stdout")
def test_standard_output_can_be_the_output(model):
    small, plain = model.parent / "small", model.parent / "plain"
    assert compress(model, small) == 0
    finished = run_wkmeans("decompress", small, "-o", "/dev/stdout", text=False)
    assert cli.main(["decompress", str(small), "-o", str(plain)]) == 0
    assert finished.stdout == plain.read_bytes()


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGPIPE")
@pytest.mark.parametrize("form", [(), ("--json",)])
def test_a_reader_that_leaves_gets_no_traceback(model, form):
    small = model.parent / "small"
    assert compress(model, small) == 0
    reading, writing = os.pipe()
    os.close(reading)
    finished = run_wkmeans(
        "inspect", small, *form, capture_output=False, stdout=writing, stderr=subprocess.PIPE
    )
    os.close(writing)
    assert finished.returncode == 1 and finished.stderr == ""


@pytest.mark.skipif(not hasattr(__import__("socket"), "AF_UNIX"), reason="no Unix sockets here")
def test_a_socket_is_refused_and_stays(model, capsys, monkeypatch):
    import socket

    monkeypatch.chdir(model.parent)  # the path of a socket is short
    with socket.socket(socket.AF_UNIX) as server:
        server.bind("socket")
        assert compress(model, "socket") == 1
        assert "expected a file, a pipe or a character device" in capsys.readouterr().err
        assert stat.S_ISSOCK(os.stat("socket").st_mode)


@pytest.mark.parametrize("exists", [True, False])
def test_a_symlink_is_followed(model, exists):
    target = model.parent / "elsewhere" / "small"
    target.parent.mkdir()
    if exists:
        target.write_bytes(b"old")
        target.chmod(0o640)
    link = model.parent / "link"
    link.symlink_to(target)
    assert compress(model, link) == 0
    assert link.is_symlink() and list(wkmeans.load(target)) == ["w"]
    assert not exists or stat.S_IMODE(target.stat().st_mode) == 0o640
    assert os.listdir(target.parent) == ["small"]


def test_a_symlink_into_no_folder_is_refused_before_the_work(model, capsys):
    link = model.parent / "link"
    link.symlink_to(model.parent / "nowhere" / "small")
    assert compress(model, link) == 1
    assert "--output: no directory" in capsys.readouterr().err


def test_a_new_file_has_the_usual_permissions(model):
    plain, small = model.parent / "plain", model.parent / "small"
    plain.write_bytes(b"")
    assert compress(model, small) == 0
    assert small.stat().st_mode == plain.stat().st_mode


@pytest.mark.parametrize("where", ["write", "fsync", "replace"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, OSError(28, "No space left on device")])
def test_whatever_interrupts_leaves_the_old_file_and_no_other(model, where, error, monkeypatch):
    old = model.parent / "small"
    old.write_bytes(b"old")
    compressed = wkmeans.compress(model, k=4)

    def interrupted(*_):
        raise error

    if where == "write":
        from wkmeans.compression import _model

        def half_a_file(_):
            yield b"half"
            interrupted()

        monkeypatch.setattr(_model._file, "serialize", half_a_file)
    else:
        monkeypatch.setattr(os, where, interrupted)
    with pytest.raises(error if isinstance(error, type) else type(error)):
        compressed.save(old)
    assert old.read_bytes() == b"old"
    assert sorted(os.listdir(model.parent)) == ["model.safetensors", "small"]


# With a terminal's signals: what runs the tests may ignore them, as `nohup` does.
HELD_UP = """
import os, signal, time
from wkmeans.cli import main
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
real = os.fsync
def held_up(descriptor):
    print("writing", flush=True)
    time.sleep(60)
os.fsync = held_up
sys.exit(main())
"""


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize(
    ("number", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)],
)
@pytest.mark.parametrize("command", ["compress", "decompress"])
def test_a_signal_leaves_no_half_file(model, command, number, status):
    small = model.parent / "small"
    assert compress(model, small) == 0
    arguments = [small] if command == "decompress" else [model, "--k", "4"]
    process = subprocess.Popen(
        [
            sys.executable,
            "-c",
            f"import sys\n{HELD_UP}",
            command,
            *arguments,
            "-o",
            model.parent / "out",
        ],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(number)
    _, error = process.communicate(timeout=60)
    assert process.returncode == status and b"Traceback" not in error
    assert sorted(os.listdir(model.parent)) == ["model.safetensors", "small"]


# --- what is printed ---


def test_markup_in_names_is_text(tmp_path, capsys):
    names = ["enc[/dec].weight", "[red]w[/red]", "a[b].weight", "x\\[y"]
    model = {
        n: np.random.default_rng(i).standard_normal((16, 16), np.float32)
        for i, n in enumerate(names)
    }
    save_file(model, tmp_path / "model.safetensors")
    assert compress(tmp_path / "model.safetensors", tmp_path / "small") == 0
    assert cli.main(["inspect", str(tmp_path / "small")]) == 0
    printed = capsys.readouterr().out
    report = str(wkmeans.load(tmp_path / "small").report())
    for name in names:
        assert printed.count(name) == 2 and name in report


@pytest.mark.skipif(sys.platform == "win32", reason="descriptors are closed by a shell")
@pytest.mark.parametrize("closed", ["2>&-", "<&- 2>&-", "<&- >&- 2>&-", "<&-"])
def test_closed_streams_stop_no_command(model, closed):
    output = model.parent / "small"
    script = "import sys; from wkmeans.cli import main; sys.exit(main())"
    line = f'"$0" -c "{script}" compress "$1" --k 4 -o "$2" {closed}'
    finished = subprocess.run(
        ["sh", "-c", line, sys.executable, model, output], capture_output=True, timeout=120
    )
    assert finished.returncode == 0, finished.stderr
    assert list(wkmeans.load(output)) == ["w"]


def test_a_failure_is_told_by_its_status_where_stderr_is_closed(model):
    if sys.platform == "win32":
        pytest.skip("descriptors are closed by a shell")
    script = "import sys; from wkmeans.cli import main; sys.exit(main())"
    line = f'"$0" -c "{script}" inspect "$1" 2>&-'
    finished = subprocess.run(
        ["sh", "-c", line, sys.executable, model], capture_output=True, timeout=120
    )
    assert finished.returncode == 1
