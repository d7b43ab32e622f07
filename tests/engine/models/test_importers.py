"""Foreign checkpoints: what is read, what is refused and in which words, and that the answers are the foreign network's."""

import hashlib
import json
import pickle
from datetime import UTC, datetime

import pytest
import torch
from monai.networks.nets import AttentionUnet, SegResNet
from safetensors.torch import save_file
from torch import nn
from typer.testing import CliRunner

from brainseg_engine import models, nets
from brainseg_engine.cli import app
from brainseg_engine.core.errors import CheckpointError, OutputError
from brainseg_engine.core.paths import models_home
from brainseg_engine.models import checkpoint
from brainseg_engine.models.importers import import_model
from brainseg_engine.nets import unet2d
from brainseg_engine.recipe import UNet2dConfig, load_recipe

PUBLISHED_DICE = {
    "TCGA_CS_4942_19970222": 0.9266,
    "TCGA_CS_4943_20000902": 0.9317,
    "TCGA_HT_7602_19951103": 0.8477,
    "TCGA_HT_7686_19950629": 0.9325,
    "TCGA_HT_8018_19970411": 0.8969,
    "TCGA_HT_8107_19980708": 0.8986,
}
"""Hard Dice per patient of the published LGG checkpoint, computed apart from this code."""


class PublishedBlock(nn.Sequential):
    """As in the published code: two convolutions with their normalisations, under these names."""

    def __init__(self, i, o):
        super().__init__()
        self.conv1, self.bn1 = nn.Conv2d(i, o, 3, padding=1), nn.BatchNorm2d(o)
        self.conv2, self.bn2 = nn.Conv2d(o, o, 3, padding=1), nn.BatchNorm2d(o)

    def forward(self, x):
        return torch.relu(self.bn2(self.conv2(torch.relu(self.bn1(self.conv1(x))))))


class PublishedUNet(nn.Module):
    """The published network's layout: one list of layers, pooling included, and skips by a stack."""

    def __init__(self, depth, width):
        super().__init__()
        layers = []
        for i in range(depth - 1):
            layers += [PublishedBlock(width if i else 3, width), nn.MaxPool2d(2)]
        layers.append(PublishedBlock(width, width))
        for _ in range(depth - 1):
            layers += [nn.ConvTranspose2d(width, width, 2, stride=2, bias=False), PublishedBlock(2 * width, width)]
        layers.append(nn.Conv2d(width, 1, 1))
        self.layers = nn.ModuleList(layers)

    def forward(self, x):
        skips = []
        for layer, following in zip(self.layers, [*self.layers[1:], None], strict=True):
            x = layer(x)
            if isinstance(following, nn.MaxPool2d):
                skips.append(x)
            if isinstance(layer, nn.ConvTranspose2d):
                x = torch.cat((x, skips.pop()), dim=1)
        return x


@pytest.fixture
def small():
    return load_recipe("unet2d_lgg", ["network.width=4", "network.depth=3"])


@pytest.fixture
def foreign():
    torch.manual_seed(0)
    net = PublishedUNet(3, 4)
    net.train()(torch.randn(4, 3, 16, 16))
    return net.eval()


def renamed_by(names, key):
    """``layers.N.rest`` under the name of the module here."""
    layers, n, *rest = key.split(".")
    return ".".join([names[f"{layers}.{n}"], *rest])


def refusal(file, recipe, name="m"):
    with pytest.raises(CheckpointError) as e:
        import_model(file, recipe, name)
    assert not models_home().exists()
    return str(e.value)


@pytest.mark.parametrize("depth", [2, 4, 5])
def test_the_published_names_are_all_known(depth):
    config = UNet2dConfig(depth=depth, width=4)
    theirs = PublishedUNet(depth, 4).state_dict()
    ours = unet2d.UNet2d(3, 1, config).state_dict()
    names = unet2d.published_modules(config)
    renamed = {renamed_by(names, k): v.shape for k, v in theirs.items()}
    assert len(renamed) == len(theirs)
    assert renamed == {k: v.shape for k, v in ours.items()}


@pytest.mark.parametrize("form", ["bare", "state_dict", "parallel", "lightning", "safetensors", "ours", "half"])
def test_every_form_gives_the_foreign_answers(form, small, foreign, tmp_path):
    state = foreign.state_dict()
    file = tmp_path / ("unet.safetensors" if form == "safetensors" else "unet.pt")
    if form == "safetensors":
        save_file(state, file)
    elif form == "ours":
        names = unet2d.published_modules(small.network)
        torch.save({renamed_by(names, k): v for k, v in state.items()}, file)
    else:
        contents = {
            "bare": state,
            "state_dict": {"epoch": 3, "state_dict": state, "val_loss": 0.1},
            "parallel": {f"module.{k}": v for k, v in state.items()},
            "lightning": {"state_dict": {f"net.{k}": v for k, v in state.items()}, "hyper_parameters": {"lr": 1e-4}},
            "half": {k: v.half() if v.is_floating_point() else v for k, v in state.items()},
        }
        torch.save(contents[form], file)
    path = import_model(file, small, "lgg")
    assert path == models.find("lgg") == models_home() / "lgg.safetensors"
    x = torch.randn(2, 3, 16, 24)
    with torch.inference_mode():
        answer, expected = checkpoint.load(path).network()(x), foreign(x)
    torch.testing.assert_close(answer, expected, **({"rtol": 0.02, "atol": 0.02} if form == "half" else {}))


def test_the_card_says_where_it_came_from(small, foreign, tmp_path):
    file = tmp_path / "unet.pt"
    torch.save(foreign.state_dict(), file)
    loaded = checkpoint.load(import_model(file, small, "lgg"))
    card = loaded.card
    assert hashlib.sha256(file.read_bytes()).hexdigest() in card.data
    assert "unet.pt" in card.data and str(tmp_path) not in card.model_dump_json()
    assert card.training_hashes == () and card.training_cases == 0
    assert "unknown" in " ".join(card.known_failures)
    assert card.licence == "imported; licence as its source says"
    assert card.parameters == sum(p.numel() for p in foreign.parameters())
    assert card.created == datetime.now(UTC).date().isoformat()
    assert (card.recipe, loaded.recipe.network) == ("unet2d_lgg", small.network)
    assert [str(r) for r in card.regions] == ["WT"]


def test_networks_of_monai_come_in_bare(tmp_path):
    attention = load_recipe("attention_unet", ["network.channels=[4, 8]", "window.size=[8, 8, 8]"])
    segres = load_recipe("baseline", [
        "network.fold=1", "network.init_filters=8", "network.blocks_down=[1, 1]", "network.blocks_up=[1]",
    ])  # fmt: skip
    theirs = {
        "attention": (attention, AttentionUnet(3, 4, 4, (4, 8), (2,))),
        "segres": (segres, SegResNet(3, 8, 4, 3, blocks_down=(1, 1), blocks_up=(1,))),
    }
    for name, (recipe, net) in theirs.items():
        torch.save({f"module.{k}": v for k, v in net.state_dict().items()}, tmp_path / "net.pth")
        path = import_model(tmp_path / "net.pth", recipe, name)
        x = torch.randn(1, 4, 8, 8, 8)
        with torch.inference_mode():
            torch.testing.assert_close(checkpoint.load(path).network()(x), net.eval()(x))


def test_what_only_training_needs_is_left_out(tmp_path):
    recipe = load_recipe("myronenko2018", [
        "network.init_filters=8", "network.blocks_down=[1, 1]", "window.size=[8, 8, 8]",
    ])  # fmt: skip
    whole = nets.build(recipe, training=True).state_dict()
    torch.save(whole, tmp_path / "net.pth")
    state = checkpoint.load(import_model(tmp_path / "net.pth", recipe, "m")).state
    assert len(state) < len(whole)
    assert all(torch.equal(v, whole[k]) for k, v in state.items())


def test_checkpoints_from_before_torch_counted_batches(small, foreign, tmp_path):
    state = {k: v for k, v in foreign.state_dict().items() if not k.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / "old.pt")
    x = torch.randn(1, 3, 16, 16)
    with torch.inference_mode():
        net = checkpoint.load(import_model(tmp_path / "old.pt", small, "old")).network()
        torch.testing.assert_close(net(x), foreign(x))


def test_misfits_are_named(small, foreign, tmp_path):
    file = tmp_path / "unet.pt"
    state = foreign.state_dict()
    torch.save(state, file)
    assert "'kermi2018'" in refusal(file, load_recipe("kermi2018"))
    deeper = load_recipe("unet2d_lgg", ["network.width=4", "network.depth=4"])
    assert "does not fit the recipe 'unet2d_lgg': it lacks" in refusal(file, deeper)
    wider = load_recipe("unet2d_lgg", ["network.width=8", "network.depth=3"])
    assert "'layers.0.conv1.weight' has the shape [4, 3, 3, 3], not [8, 3, 3, 3]" in refusal(file, wider)
    torch.save({k: v for k, v in state.items() if k != "layers.2.bn1.weight"}, file)
    assert "it lacks 1 of 74 tensors, the first 'layers.2.bn1.weight'" in refusal(file, small)
    torch.save({**state, "layers.99.weight": torch.zeros(1)}, file)
    assert "no place for 1 of its tensors, the first 'layers.99.weight'" in refusal(file, small)
    torch.save({**state, "layers.0.conv1.bias": torch.full((4,), torch.nan)}, file)
    assert "no numbers, in 'layers.0.conv1.bias'" in refusal(file, small)


class Harmful:
    """Its pickle asks for a program to be run."""

    def __reduce__(self):
        return print, ("run",)


def test_program_code_is_never_run(small, tmp_path, capsys):
    file = tmp_path / "evil.pt"
    for save in (
        lambda: torch.save({"state_dict": {"a": Harmful()}}, file),
        lambda: torch.save(nn.Linear(2, 2), file),
        lambda: file.write_bytes(pickle.dumps({"a": Harmful()})),
    ):
        save()
        message = refusal(file, small)
        assert "never run" in message and str(file) in message
    assert "run" not in capsys.readouterr().out


@pytest.mark.parametrize("contents", [b"", b"\0" * 64, b"# a text\n", b"PK\x03\x04 a broken archive"])
@pytest.mark.parametrize("name", ["x.pt", "x.safetensors"])
def test_files_that_are_no_weights(contents, name, small, tmp_path):
    file = tmp_path / name
    file.write_bytes(contents)
    assert str(file) in refusal(file, small)
    assert "no weights file" in refusal(tmp_path / "absent.pt", small)


def test_torch_files_without_weights(small, tmp_path):
    for tree in ([1, 2], {}, {"epoch": 3}, {"state_dict": {}}, {"state_dict": {"a": 1}}, torch.zeros(3)):
        torch.save(tree, tmp_path / "x.pt")
        assert "holds no weights" in refusal(tmp_path / "x.pt", small)


def test_own_models_are_not_imported(tiny_model, tiny_recipe):
    assert "is a model of napari-brainseg already" in refusal(tiny_model, tiny_recipe)


def test_names(small, foreign, tmp_path):
    file = tmp_path / "unet.pt"
    torch.save(foreign.state_dict(), file)
    for name in ("", "../x", "a/b", ".hidden", "a b"):
        with pytest.raises(OutputError, match="cannot be a model's name"):
            import_model(file, small, name)
    path = import_model(file, small, "lgg-2.1")
    with pytest.raises(OutputError, match="already"):
        import_model(file, small, "lgg-2.1")
    before = path.stat().st_ino
    assert import_model(file, small, "lgg-2.1", force=True).stat().st_ino != before


def test_command(tmp_path):
    file = tmp_path / "unet.pt"
    torch.save(PublishedUNet(4, 32).state_dict(), file)
    run = CliRunner().invoke
    done = run(
        app, ["models", "import", str(file), "--recipe", "unet2d_lgg", "--preset", "as_published", "--name", "lgg"]
    )
    assert done.exit_code == 0
    assert str(models_home() / "lgg.safetensors") in done.output
    assert checkpoint.load(models.find("lgg")).recipe.preset == "as_published"
    listed = run(app, ["models"])
    assert listed.exit_code == 0 and "lgg" in listed.output and "brats-baseline" in listed.output
    assert run(app, ["models", "import", str(file), "--recipe", "unet2d_lgg", "--name", "lgg"]).exit_code == 4
    assert run(app, ["models", "import", str(file), "--recipe", "kermi2018", "--name", "x"]).exit_code == 5
    assert run(app, ["models", "import", str(file), "--recipe", "unet", "--name", "x"]).exit_code == 6
    assert run(app, ["models", "import", str(file), "--recipe", "unet2d_lgg"]).exit_code == 2


@pytest.mark.slow
def test_the_published_lgg_checkpoint_scores_as_published(real_data, tmp_path):
    """Import, predict and evaluate, all by the command line."""
    file = real_data / "lgg" / "reference_checkpoint" / "unet.pt"
    if not file.is_file():
        pytest.skip(f"no published checkpoint in {file.parent}")
    patients = real_data / "lgg" / "kaggle_3m"

    def run(*arguments):
        result = CliRunner().invoke(app, [str(a) for a in arguments])
        assert result.exit_code == 0, result.output
        return result.stdout

    run("models", "import", file, "--recipe", "unet2d_lgg", "--name", "lgg")
    run("predict", patients, "--model", "lgg", "--out", tmp_path, "--device", "cpu")
    scores = json.loads(run("evaluate", "--truth", patients, "--predictions", tmp_path, "--json"))
    dice = {case: regions["WT"]["dice"] for case, regions in scores["cases"].items()}
    assert dice == pytest.approx(PUBLISHED_DICE, abs=1e-3)
