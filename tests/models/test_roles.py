"""Messages about a model name its role, and options as they are typed for that role."""

import pytest

from stitching import config
from stitching.weights.roles import naming_role
from tests.small import small_vae, small_vae_options


@pytest.mark.parametrize("role", ["encoder", "decoder", "data.model", "model"])
def test_a_missing_file_is_answered_with_the_option_of_its_role(role):
    node = small_vae_options() | {"weights": "nowhere/x.safetensors"}
    with pytest.raises(FileNotFoundError) as error:
        config.build_model(node, "cpu", role=role)
    assert f"{role}=vae: no weight file" in str(error.value)
    assert f" {role}.weights=PATH" in str(error.value)


@pytest.mark.parametrize("role", ["via", "models"])
def test_a_model_chosen_by_name_is_changed_in_its_yaml(role):
    node = small_vae_options() | {"weights": "nowhere/x.safetensors"}
    with pytest.raises(FileNotFoundError, match="weights: PATH in the model's YAML"):
        config.build_model(node, "cpu", role=role)


def test_weights_of_another_width_name_the_role(tmp_path):
    from stitching.weights.loading import weights_bytes

    data = weights_bytes(small_vae(), small_vae_options(), {})
    (tmp_path / "x.safetensors").write_bytes(data)
    node = small_vae_options(latent_dim=8) | {"weights": str(tmp_path / "x.safetensors")}
    with pytest.raises(ValueError, match=r"decoder=vae: .*latent_dim=8 but trained with 16"):
        config.build_model(node, "cpu", role="decoder")


def test_a_wrong_option_of_a_constructor_names_the_role():
    node = small_vae_options(image_size=30)
    with pytest.raises(ValueError, match="decoder=vae: model vae needs images"):
        config.build_model(node, "cpu", role="decoder")


def test_other_attributes_and_messages_of_an_error_stay():
    error = OSError(28, "No space left on device", "x")
    with pytest.raises(OSError, match="No space") as seen, naming_role("decoder", "vae"):
        raise error
    assert seen.value is error
    assert seen.value.errno == 28
