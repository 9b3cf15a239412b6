"""Wrong keys and values: one message with the key, the value seen, and what there is."""

import pytest

from stitching.compute import devices
from stitching.compute.attributes import PAPER
from stitching.config import assemble, values
from stitching.config.arguments import check_arguments
from stitching.data.faces import describe
from tests.config.test_build import composed


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("map.alhpa=3", "map.alpha"),
        ("n_train=300", "data.n_train"),
        ("encoder.latentdim=3", "encoder.latent_dim"),
        ("rank_curves=auto", "rank_curve"),
        ("~metric.rsme", "metric.rmse"),
        ("protocol.n_bootstraps=3", "protocol.n_bootstrap"),
        ("encoder=vea", "vae"),
        ("metric=[rmse,lpip]", "lpips"),
        ("protocol=strct", "strict"),
        ("experiment=gird", "grid"),
        ("probe=logstic", "logistic"),
        ("map=rigde", "ridge"),
        ("data=face", "faces"),
        ("+hydra.run.dri=x", "hydra.run.dir"),
        ("++hydra.sweep.subdri=x", "hydra.sweep.subdir"),
        ("+hydra.jb.name=x", "hydra.job"),
    ],
)
def test_what_does_not_exist_names_the_nearest_that_does(override, meant):
    with pytest.raises(ValueError, match=rf"did you mean {meant}\?") as caught:
        composed(override)
    assert override.lstrip("+~").partition("=")[0].removesuffix(".name") in str(caught.value)


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("+n_train=300", "data.n_train"),
        ("+rank_curves=auto", "rank_curve"),
        ("+map.alhpa=3", "map.alpha"),
        ("+data.n_trian=3", "data.n_train"),
        ("+encoder.latentdim=3", "encoder.latent_dim"),
        ("+decoder.wieghts=x", "decoder.weights"),
        ("+metric.rmse.nam=3", None),
        ("+probe.atributes=[Male]", "probe.attributes"),
        ("+protocol.penalties=chosen", "protocol.penalty"),
    ],
)
def test_a_key_that_nothing_reads_is_refused(override, meant):
    key = override[1:].partition("=")[0]
    with pytest.raises(ValueError, match=rf"{key} is not an option") as caught:
        assemble.build_cell(composed(override))
    if meant is not None:
        assert f"did you mean {meant}?" in str(caught.value)


def test_a_key_that_a_value_refers_to_is_read():
    assert composed("+images=14", "data.n_train=${images}").settings["data"]["n_train"] == 14


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("map.alpha=foo", "map.alpha must be a number or null, got 'foo'"),
        ("map.n_alphas=2.5", "map.n_alphas must be a whole number, got 2.5"),
        ("seed=a", "seed must be a whole number >= 0, got 'a'"),
        ("seed=-1", "seed must be a whole number >= 0, got -1"),
        ("data.seed=a", "data.seed must be a whole number, got 'a'"),
        ("data.n_train=true", "data.n_train must be a whole number, got True"),
        ("probe.alpha=x", "probe.alpha must be a number or null, got 'x'"),
        ("probe.attributes=Male", r"probe.attributes=Male: use a list such as \[Male\]"),
        ("probe.attributes=[Smilng,Male]", "no binary attribute Smilng, did you mean Smiling"),
        ("protocol.map_alphas.nf.vae=-5", r"map_alphas.nf.vae must be a finite number >= 0"),
        ("protocol.map_alphas.nf.vae=foo", "map_alphas.nf.vae must be .* got 'foo'"),
        ("protocol.probe_alphas.vae=0", "protocol.probe_alphas.vae must be a finite number > 0"),
        ("protocol.n_halves=a", "protocol.n_halves must be a whole number"),
        ("validation=2", "validation must be null, or a share"),
        ("rank_curve=foo", "rank_curve='foo': use null, auto, or a list of ranks"),
        ("round_trip=maybe", "round_trip must be true or false, got 'maybe'"),
        ("picture=999", "picture=999 is not a test image"),
        ("dtype=float13", "dtype='float13': use one of .*, did you mean float"),
        ("device=cdua", "device='cdua': use auto, .*, did you mean cuda?"),
        ("map.selection=lo", "map.selection='lo': use one of .*, did you mean loo?"),
        ("protocol.latents=samples", "protocol.latents='samples': use .*, did you mean sampled?"),
        ("device=cuda:x", "device='cuda:x': use auto, cpu, cuda or cuda:N"),
        ("via=nosuch", "via=nosuch: there is no model named nosuch"),
    ],
)
def test_a_wrong_value_names_its_key(override, message):
    with pytest.raises(ValueError, match=message):
        assemble.build_cell(composed(override))


@pytest.mark.parametrize("device", ["CPU", "cpu", "Auto"])
def test_devices_are_understood_in_either_case(device):
    assert devices.pick_device(device).type in ("cpu", "cuda")
    values.check_values({"device": device, "dtype": "float32"})


def takes_anything(width: int, **options: object) -> None:
    """A user's constructor that passes its options on."""


def test_a_constructor_that_takes_every_name_is_left_alone():
    node = {"_target_": f"{__name__}.takes_anything", "width": 3, "depth": "any"}
    check_arguments(node, "map")
    with pytest.raises(ValueError, match=r"map\.width must be a whole number, got 'x'"):
        check_arguments(node | {"width": "x"}, "map")


def test_drawn_faces_have_the_papers_attributes():
    attributes = describe(0, 0)[1]
    assert tuple(attributes) == PAPER


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("protocol.measures=[image/rmse,image/foo]", "has 'image/foo', which is no measure"),
        ("protocol.measures=[]", "protocol.measures is empty"),
        ("+protocol.map_alphas.vea.nf=3", r"protocol.map_alphas.vea: there is no model vea, did"),
        ("+protocol.map_alphas.nf.vea=3", r"protocol.map_alphas.nf.vea: there is no model vea"),
        ("+protocol.probe_alphas.vea=3", r"protocol.probe_alphas.vea: there is no model vea"),
    ],
)
def test_names_in_a_protocol_are_of_what_there_is(override, message):
    with pytest.raises(ValueError, match=message):
        assemble.build_cell(composed(override))


def test_a_failed_interpolation_is_one_line_with_its_key():
    with pytest.raises(ValueError, match=r"seed: Interpolation key 'nothing\.here' not found$"):
        composed("seed=${nothing.here}")
