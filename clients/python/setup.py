"""Generates the messages of proto/ into the wheel, with their types; leaves nothing beside itself."""

from importlib.resources import files
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

TOP = Path(__file__).resolve().parents[2]
BUILD = TOP / "build/clients/wheel"


class BuildWithMessages(build_py):
    def run(self) -> None:
        super().run()
        from grpc_tools import protoc  # only a build needs it

        to = self.build_lib
        arguments = [f"-I{TOP / 'proto'}", f"-I{files('grpc_tools') / '_proto'}"]
        arguments += [f"--python_out={to}", f"--pyi_out={to}", f"--grpc_python_out={to}"]
        sources = [str(source) for source in sorted(TOP.glob("proto/kvasir/v1/*.proto"))]
        if not sources or protoc.main(["protoc", *arguments, *sources]) != 0:
            raise SystemExit(f"no messages generated from {TOP / 'proto'}")


BUILD.mkdir(parents=True, exist_ok=True)
setup(
    cmdclass={"build_py": BuildWithMessages},
    options={"build": {"build_base": str(BUILD)}, "egg_info": {"egg_base": str(BUILD)}},
)
