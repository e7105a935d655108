"""`wkmeans compress FOLDER --calibration`: a folder in, a smaller one out."""

from __future__ import annotations

import copy
import io
import json
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout

import pytest

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

from texts import WORDS, model_folder, text, tokenizer  # noqa: E402

import wkmeans  # noqa: E402
from wkmeans.cli import main  # noqa: E402
from wkmeans.transformers._texts import Sequences, cut, perplexity  # noqa: E402

SMALL = ["--calibration-sequences", "12", "--sequence-length", "10"]


@pytest.fixture(scope="module", params=["Llama", "Qwen2, tied", "BERT", "T5"])
def run(request, tmp_path_factory):
    """A model, its folder, and the report on the one that the command made of it."""
    place = tmp_path_factory.mktemp("command")
    model = model_folder(request.param, place / "model")
    (place / "text.txt").write_text(text(400))
    command = ["compress", str(place / "model"), "--calibration", str(place / "text.txt")]
    command += ["--bits", "3", "-o", str(place / "small"), "--json", *SMALL]
    printed, said = io.StringIO(), io.StringIO()
    with redirect_stdout(printed), redirect_stderr(said):
        status = main(command)
    assert (status, said.getvalue()) == (0, "")
    return model, place, json.loads(printed.getvalue())


def test_the_folder_loads_as_the_dequantised_weights(run):
    model, place, _ = run
    loaded, info = type(model).from_pretrained(place / "small", output_loading_info=True)
    assert not any(info.values()), info
    compressed = wkmeans.load(place / "small" / "model.safetensors")
    expected = compressed.apply_to(copy.deepcopy(model))
    ids = torch.randint(3, 96, (2, 7))
    inputs = {"input_ids": ids}
    if model.config.is_encoder_decoder:
        inputs["decoder_input_ids"] = ids
    with torch.no_grad():
        torch.testing.assert_close(
            loaded(**inputs).logits, expected(**inputs).logits, rtol=0, atol=1e-5
        )
    for one, other in loaded.all_tied_weights_keys.items():
        assert loaded.get_parameter(one) is loaded.get_parameter(other)


def test_what_belongs_to_the_model_comes_along(run):
    _, place, _ = run
    for path in (place / "model").iterdir():
        if path.name not in ("config.json", "model.safetensors"):
            assert (place / "small" / path.name).read_bytes() == path.read_bytes()
    again = transformers.AutoTokenizer.from_pretrained(place / "small")
    assert again.get_vocab() == tokenizer().get_vocab()
    assert not list(place.glob(".small*"))


def test_the_report_has_divergence_and_perplexity(run):
    model, _, report = run
    assert 0 < report["divergence"] <= report["divergence_unweighted"]
    assert any("12 sequences of 10 tokens" in note for note in report["notes"])
    if type(model).__name__.endswith("ForCausalLM"):
        assert report["metric"] == "perplexity"
        assert report["metric_before"] == pytest.approx(96, rel=0.1)
        assert report["metric_after"] == pytest.approx(report["metric_before"], rel=0.1)
        assert report["metric_after"] != report["metric_before"]
    else:
        assert report["metric_before"] is None


def test_perplexity_is_of_the_next_token():
    class Counts(torch.nn.Module):
        """Sure, to three parts in four, that the next token is one more."""

        def forward(self, input_ids):
            likely = torch.nn.functional.one_hot(input_ids + 1, 5).double()
            output = torch.nn.Module()
            output.logits = (0.75 * likely + 0.25 * (1 - likely) / 4).log()
            return output

    ids = torch.tensor([[0, 1, 2, 3]])
    assert perplexity(Counts(), [{"input_ids": ids}]) == pytest.approx(4 / 3)


def test_a_size_is_kept_and_the_report_is_printed(tmp_path, capsys):
    model_folder("Llama", tmp_path / "model")
    (tmp_path / "text.txt").write_text(text(400))
    capsys.readouterr()
    command = ["compress", str(tmp_path / "model"), "--calibration", str(tmp_path / "text.txt")]
    size = ["--target-bits-per-weight", "5", "-o", str(tmp_path / "deep" / "small"), *SMALL]
    assert main([*command, *size]) == 0
    printed = capsys.readouterr().out
    assert "divergence on held-out examples" in printed and "perplexity" in printed
    written = tmp_path / "deep" / "small" / "model.safetensors"
    weights = sum(tensor.size for tensor in wkmeans.load(written).values())
    assert 0.98 * 5 <= 8 * written.stat().st_size / weights <= 5


class TestCutting:
    def test_sequences_are_disjoint_framed_and_drawn_by_the_seed(self):
        made = tokenizer()
        words = [text(50), "", " ".join(WORDS[:30])]
        wanted = Sequences(number=100, length=8, seed=3)
        sequences = cut(words, made, wanted, None)
        assert sequences.shape == (50 // 7 + 30 // 7, 8)
        assert (sequences[:, 0] == 1).all()
        parts = {made.decode(sequence[1:]) for sequence in sequences}
        assert len(parts) == len(sequences)
        assert all(any(part in whole for whole in words) for part in parts)
        assert torch.equal(cut(words, made, wanted, None), sequences)
        fewer = cut(words, made, Sequences(number=4, length=8, seed=3), None)
        assert torch.equal(fewer, sequences[:4])
        other = cut(words, made, Sequences(number=100, length=8, seed=4), None)
        assert not torch.equal(other, sequences)

    @pytest.mark.parametrize(
        ("words", "positions", "length"),
        [(5000, None, 256), (5000, 64, 64), (200, None, 41), (5000, 4, 4)],
    )
    def test_the_length_is_what_model_and_texts_have(self, words, positions, length):
        assert cut([text(words)], tokenizer(), Sequences(8), positions).shape[1] == length

    @pytest.mark.parametrize(
        ("words", "wanted", "positions", "message"),
        [
            (12, {}, None, "expected texts of at least 35 tokens, got 12"),
            (0, {}, None, "expected texts of at least 40 tokens, got 0"),
            (30, {"length": 20}, None, "at least 38 tokens, two sequences, got 30 in 1"),
            (90, {"length": 20}, 16, "sequence length: expected at most 16"),
        ],
    )
    def test_what_cannot_be_cut_is_said(self, words, wanted, positions, message):
        with pytest.raises(ValueError, match=message):
            cut([text(words) if words else ""], tokenizer(), Sequences(8, **wanted), positions)

    @pytest.mark.parametrize(
        ("wanted", "message"),
        [
            ({"number": 0}, "calibration sequences: expected at least 1, got 0"),
            ({"number": 1, "length": 1}, "sequence length: expected at least 2 tokens, got 1"),
            ({"number": 1, "seed": -1}, "seed: expected at least 0, got -1"),
        ],
    )
    def test_senseless_wishes_are_refused(self, wanted, message):
        with pytest.raises(ValueError, match=message):
            Sequences(**wanted)


@pytest.fixture(scope="module")
def original(tmp_path_factory):
    """The folder of a model that stays as it is."""
    place = tmp_path_factory.mktemp("refusals")
    model_folder("Llama", place / "model")
    return place / "model"


class TestRefusals:
    """One line, before anything is computed, and nothing written."""

    @pytest.fixture
    def error_of(self, original, tmp_path, capsys):
        (tmp_path / "text.txt").write_text(text(400))

        def run(folder=original, words="text.txt", output="small", extra=()):
            command = ["compress", str(folder), *extra, "--calibration", str(tmp_path / words)]
            before = sorted(tmp_path.rglob("*"))
            capsys.readouterr()
            assert main([*command, "--bits", "3", "-o", str(tmp_path / output), *SMALL]) == 1
            assert sorted(tmp_path.rglob("*")) == before
            error = capsys.readouterr().err
            assert error.startswith("wkmeans: error: ") and error.count("\n") == 1
            return error

        return run

    def copy(self, original, path, without=()):
        path.mkdir()
        for file in original.iterdir():
            if file.name not in without:
                (path / file.name).write_bytes(file.read_bytes())
        return path

    def test_outputs(self, original, error_of, tmp_path):
        assert "a new or an empty folder" in error_of(output=".")
        assert "expected a folder" in error_of(output="text.txt")
        folder = self.copy(original, tmp_path / "model")
        assert "is the input, which it would replace" in error_of(folder, output="model")

    def test_folders(self, original, error_of, tmp_path):
        assert "expected a folder with calibration" in error_of(original / "model.safetensors")
        assert "MODEL: expected one folder" in error_of(extra=[str(original)])
        empty = self.copy(original, tmp_path / "empty", {"config.json"})
        assert "expected a folder with a config.json" in error_of(empty)
        none = self.copy(original, tmp_path / "none", {"tokenizer.json"})
        assert "the folder's own tokenizer" in error_of(none)

    def test_texts(self, error_of, tmp_path):
        assert "No such file" in error_of(words="missing.txt")
        (tmp_path / "binary.txt").write_bytes(b"\xff\xfe\x00")
        assert "expected text in UTF-8" in error_of(words="binary.txt")
        (tmp_path / "short.txt").write_text("word1 word2")
        assert "expected texts of at least 18 tokens" in error_of(words="short.txt")

    def test_weights_that_are_not_plain(self, original, error_of, tmp_path):
        folder = self.copy(original, tmp_path / "quantised")
        config = json.loads((folder / "config.json").read_text())
        config["quantization_config"] = {"quant_method": "wkmeans"}
        (folder / "config.json").write_text(json.dumps(config))
        assert "quantised by 'wkmeans'" in error_of(folder)

    def test_weights_that_are_missing(self, original, error_of, tmp_path):
        folder = self.copy(original, tmp_path / "larger")
        config = json.loads((folder / "config.json").read_text())
        config["num_hidden_layers"] = 3
        (folder / "config.json").write_text(json.dumps(config))
        assert "got none for 'model.layers.2." in error_of(folder)

    def test_models_that_read_no_text(self, error_of, tmp_path):
        model_folder("ViT", tmp_path / "images")
        assert "expected a model that reads text, got ViTFor" in error_of(tmp_path / "images")

    def test_a_tokenizer_of_another_model(self, original, error_of, tmp_path):
        folder = self.copy(original, tmp_path / "other", {"tokenizer.json"})
        held = json.loads((original / "tokenizer.json").read_text())
        held["model"]["vocab"] = {
            word: token if token < 4 else token + 50
            for word, token in held["model"]["vocab"].items()
        }
        (folder / "tokenizer.json").write_text(json.dumps(held))
        assert "expected tokens below 96" in error_of(folder)

    def test_what_fails_late_leaves_nothing(self, error_of, monkeypatch):
        def full(*_):
            raise OSError("no space")

        monkeypatch.setattr("wkmeans.transformers._command.copy_companions", full)
        assert "no space" in error_of()


def test_without_transformers_it_says_what_to_install(tmp_path):
    code = (
        "import sys; sys.modules['transformers'] = None\n"
        "from wkmeans.cli import main\n"
        "sys.exit(main(['compress', '.', '--calibration', 'x', '--bits', '3', '-o', 'y']))"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert run.returncode == 1
    assert run.stderr.startswith("wkmeans: error: wkmeans.transformers needs transformers: pip")
