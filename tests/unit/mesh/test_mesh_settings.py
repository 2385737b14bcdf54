"""Settings from the environment."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

import pytest

from mesh.settings import MeshSettings, SettingsError, default_run_dir


class ThingSettings(MeshSettings):
    service: ClassVar[str] = "build"
    build_slots: int = 2


def test_defaults_follow_the_directories() -> None:
    settings = ThingSettings.load({"FNMESH_DATA_DIR": "/d", "FNMESH_RUN_DIR": "/r", "FNMESH_BLOB_URL": ""})
    assert settings.database_url == "sqlite:////d/db/build.db"
    assert settings.token_file == Path("/r/token")
    assert settings.blob_url == "/d/blobs"
    assert settings.own_address == "unix:/r/m/build.sock"
    assert len(str(default_run_dir(Path("/a/very/long/path" * 20)))) < 30


def test_own_names_are_checked_and_others_are_not_our_business() -> None:
    settings = ThingSettings.load(
        {
            "FNMESH_BUILD_SLOTS": "5",
            "FNMESH_DEPLOY_ANYTHING": "1",
            "FNMESH_UP_X": "1",
            "FNMESH_TEST_Y": "1",
            "FNMESH_REQUIRE": "docker",
            "FNMESH_API_KEY": "k",
            "PATH": "/bin",
        }
    )
    assert settings.build_slots == 5
    for name in ("FNMESH_BUILD_SLOT", "FNMESH_DATADIR", "fnmesh_data_dir"):
        with pytest.raises(SettingsError, match="is not a setting"):
            ThingSettings.load({name: "1"})
    with pytest.raises(SettingsError, match="did you mean FNMESH_BUILD_SLOTS"):
        ThingSettings.load({"FNMESH_BUILD_SLOT": "1"})


def test_a_wrong_value_is_one_sentence_without_the_value() -> None:
    with pytest.raises(SettingsError, match="FNMESH_BUILD_SLOTS is wrong") as refused:
        ThingSettings.load({"FNMESH_BUILD_SLOTS": "a-secret"})
    assert "a-secret" not in str(refused.value)


def test_passwords_are_not_shown() -> None:
    settings = ThingSettings.load({"FNMESH_DATABASE_URL": "postgresql://me:hush@host/db"})
    assert "hush" not in repr(settings) and "hush" not in str(settings.redacted())
    assert settings.redacted()["database_url"] == "postgresql://****@host/db"


def test_token_and_mesh_id(tmp_path: Path) -> None:
    settings = ThingSettings.load({"FNMESH_DATA_DIR": str(tmp_path), "FNMESH_RUN_DIR": str(tmp_path)})
    for read in (settings.read_token, settings.read_mesh_id):
        with pytest.raises(SettingsError):
            read()
    (tmp_path / "token").write_text("x" * 32 + "\n")
    (tmp_path / "mesh_id").write_text("m-1\n")
    assert settings.read_token().matches("x" * 32) and settings.read_mesh_id() == "m-1"
