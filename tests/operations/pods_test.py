"""The chart's pods as processes of this machine: command lines, variables and probes that helm renders."""

import base64
import re
import subprocess
import unittest
from typing import Any

from chart import REDIS, Manifest, find, pods, render
from services import ServiceTest, free_port, generate, model_pb2, wait_for

Container = dict[str, Any]


class PodsTest(ServiceTest):
    def variables(self, container: Container, manifests: list[Manifest]) -> dict[str, str]:
        """As the kubelet makes them, in order: a value may name one before it."""
        found: dict[str, str] = {}
        for each in container["env"]:
            match each.get("valueFrom"):
                case None:
                    found[each["name"]] = self.expand(each["value"], found)
                case {"secretKeyRef": key}:
                    data = find(manifests, "Secret", key["name"])["data"][key["key"]]
                    found[each["name"]] = base64.b64decode(data).decode()
                case {"fieldRef": {"fieldPath": "metadata.name"}}:
                    found[each["name"]] = "kvasir-model-0"
                case {"resourceFieldRef": {"resource": "limits.cpu"}}:
                    found[each["name"]] = "2"
                case source:
                    self.fail(f"unknown: {source}")
        return found

    @staticmethod
    def expand(text: str, variables: dict[str, str]) -> str:
        return re.sub(r"\$\((\w+)\)", lambda name: variables[name[1]], text)

    def flags(self, container: Container, variables: dict[str, str]) -> list[str]:
        """Without where it listens, which a test decides."""
        words = [self.expand(word, variables) for word in container["args"]]
        return [word for word in words if not word.startswith(("--listen=", "--metrics="))]

    def start_redis(self, redis: Container, variables: dict[str, str], port: int) -> None:
        words = [self.expand(word, variables) for word in redis["command"] + redis["args"]]
        words[words.index("/data")] = str(self.folder())
        here = ["--port", str(port), "--bind", "127.0.0.1"]
        process = subprocess.Popen([*words, *here], stdout=subprocess.DEVNULL)
        self.addCleanup(process.wait)
        self.addCleanup(process.kill)

    def test_pods_start_and_keep_sessions(self) -> None:
        manifests = render(
            {
                "weights": {"model": ""},
                "sessions": REDIS | {"ttl": 86400, "durability": "token"},
                "model": {"kvMemory": "64MiB", "extraFlags": ["--max-queue=7"]},
            }
        )
        port = free_port()
        redis = pods(manifests)["kvasir-redis"]["spec"]["containers"][0]
        secret = self.variables(redis, manifests)
        self.start_redis(redis, secret, port)
        program, *words = redis["readinessProbe"]["exec"]["command"]
        probe = [program, "-p", str(port), *words]

        def ready(password: str) -> bool:
            environment = {"REDISCLI_AUTH": password, "PATH": "/usr/bin"}
            return subprocess.run(probe, env=environment, capture_output=True).returncode == 0

        wait_for(lambda: ready(secret["REDISCLI_AUTH"]), "Redis")
        self.assertFalse(ready("another"))

        container = pods(manifests)["kvasir-model"]["spec"]["containers"][0]
        variables = self.variables(container, manifests)
        store = variables["KVASIR_SESSION_STORE"]
        self.assertTrue(store.startswith(f"redis://:{secret['REDISCLI_AUTH']}@kvasir-redis:6379/"))
        variables["KVASIR_SESSION_STORE"] = store.replace("kvasir-redis:6379", f"127.0.0.1:{port}")
        flags = self.flags(container, variables)
        for _ in range(2):  # the pod, and the one after it
            model = self.start("kvasir-model", *flags, **variables).serve()
            for probe_name in ("startupProbe", "readinessProbe", "livenessProbe"):
                path = container[probe_name]["httpGet"]["path"]
                self.assertEqual(model.get(path), (200, "ok\n"))
            generate(model, session_id="s", input_ids=[1, 2, 3], create_if_missing=True)
            self.assertEqual(model.stop(), 0)
            self.assertNotIn("WARN", model.log().upper())
        model = self.start("kvasir-model", *flags, **variables).serve()
        session = model.model.GetSession(model_pb2.GetSessionRequest(session_id="s")).session
        self.assertEqual(session.length, 16)

        container = pods(manifests)["kvasir-tokenizer"]["spec"]["containers"][0]
        variables = self.variables(container, manifests)
        tokenizer = self.start(
            "kvasir-tokenizer", *self.flags(container, variables), **variables
        ).serve()
        self.assertEqual(tokenizer.get("/readyz"), (200, "ok\n"))


if __name__ == "__main__":
    unittest.main()
