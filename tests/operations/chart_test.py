"""deploy/helm/kvasir: what Kubernetes, HAProxy, Prometheus and the programs would say to it."""

import json
import re
import shutil
import subprocess
import tempfile
import unittest
from pathlib import Path
from typing import Any

import kubernetes_validate
import yaml

from chart import (
    CHART,
    REDIS,
    SETS,
    TLS,
    Manifest,
    containers,
    find,
    helm,
    pods,
    references,
    render,
    workloads,
)
from flags import PROGRAMS, known_flags, unknown_flags
from services import ROOT

# The oldest that Chart.yaml allows, and the newest that there are schemas of.
KUBERNETES = ("1.30.0", "1.34.0")
# The Prometheus operator's: Kubernetes has no schema of them.
OPERATOR = {"ServiceMonitor", "PrometheusRule"}
# CoreDNS, as kubeadm sets it up, answers from memory for so many seconds.
DNS_MEMORY = 30
# Secrets and claims that the sets of values name.
THEIRS = {
    "authority",
    "certificate",
    "certificate-of-ours",
    "clients",
    "keys-of-ours",
    "key-set",
    "redis-of-ours",
    "redis-password",
    "hub",
    "models",
    "registry",
}
REFUSED = {
    "model.replicas: 2 replicas of the model need sessions.store=redis": {"model": {"replicas": 2}},
    "autoscaling.maxReplicas: 4 replicas of the model need sessions.store=redis": {
        "autoscaling": {"enabled": True}
    },
    "autoscaling.minReplicas: 9 is more than autoscaling.maxReplicas, 4": {
        "sessions": REDIS,
        "autoscaling": {"enabled": True, "minReplicas": 9},
    },
    "proxy.service.type: NodePort lets calls in from outside": {
        "proxy": {"service": {"type": "NodePort"}}
    },
    "proxy.tls.clientCaSecret: clients' certificates need TLS": {
        "proxy": {"tls": {"clientCaSecret": "ca"}}
    },
    "gateway.tls.caSecret: the proxy speaks TLS": {
        "gateway": {"enabled": True},
        "proxy": {"tls": {"secret": "certificate"}},
    },
    "gateway.tls.certificateSecret: the proxy asks clients": {
        "gateway": {"enabled": True, "tls": {"caSecret": "authority"}},
        "proxy": {"tls": TLS},
    },
    # By the schema.
    "sessions.store": {"sessions": {"store": "memory"}},
    "sessions.durability": {"sessions": {"durability": "sometimes"}},
    "sessions.size": {"sessions": {"size": "large"}},
    "model.replicas": {"model": {"replicas": 0}},
    "model.gpus": {"model": {"gpus": 2}},
    "auth.jwt.audience": {"auth": {"jwt": {"keysSecret": "key-set"}}},
    "LoadBalancer lets everybody in, and needs auth.apiKeysSecret": {
        "proxy": {"tls": {"secret": "certificate"}, "service": {"type": "LoadBalancer"}}
    },
    "model.extraFlags": {"model": {"extraFlags": ["max-queue=1"]}},
    "model.kvMemory": {"model": {"kvMemory": "much"}},
    "Additional property replica ": {"model": {"replica": 1}},
    "Additional property modle ": {"modle": {}},
    "weights.model": {"weights": {"model": "Qwen3-4B"}},
    "weights.endpoint": {"weights": {"endpoint": "hub.example"}},
    "proxy.service.port": {"proxy": {"service": {"port": 70000}}},
    "autoscaling.kvUse": {"autoscaling": {"kvUse": 80}},
    "log.level": {"log": {"level": "loud"}},
}


def command_lines(manifests: list[Manifest]) -> list[tuple[list[str], set[str]]]:
    """How our programs are started: command and names of variables."""
    found = []
    for pod in pods(manifests).values():
        for container in containers(pod):
            if container["command"][0] in PROGRAMS:
                variables = {each["name"] for each in container["env"]}
                found.append((container["command"] + container["args"], variables))
    return found


class ChartTest(unittest.TestCase):
    @classmethod
    def setUpClass(cls) -> None:
        cls.rendered = {name: render(values) for name, values in SETS.items()}

    def test_helm_has_no_complaint(self) -> None:
        for name, values in SETS.items():
            result = helm("lint", values, "--strict")
            self.assertEqual(result.returncode, 0, f"{name}: {result.stdout}")

    def test_kubernetes_knows_every_field(self) -> None:
        for name, manifests in self.rendered.items():
            for manifest in manifests:
                if manifest["kind"] in OPERATOR:
                    continue
                for version in KUBERNETES:
                    with self.subTest(name, kind=manifest["kind"], version=version):
                        kubernetes_validate.validate(manifest, version, strict=True)

    def test_refuses_what_cannot_work(self) -> None:
        for message, values in REFUSED.items():
            result = helm("template", values)
            self.assertNotEqual(result.returncode, 0, message)
            self.assertIn(message, result.stderr)

    def test_has_a_schema_for_every_value(self) -> None:
        def compare(values: dict[str, Any], schema: dict[str, Any], at: str) -> None:
            names = set(schema["properties"]) - {"global"}  # helm's own
            self.assertEqual(set(values), names, at)
            for name, value in values.items():
                if "properties" in (below := schema["properties"][name]):
                    self.assertIs(below["additionalProperties"], False, f"{at}{name}")
                    compare(value, below, f"{at}{name}.")

        values = yaml.safe_load((CHART / "values.yaml").read_text())
        compare(values, json.loads((CHART / "values.schema.json").read_text()), "")

    def test_refers_to_what_is_there(self) -> None:
        for name, manifests in self.rendered.items():
            there = {(each["kind"], each["metadata"]["name"]) for each in manifests}
            needed = set(references(manifests))
            self.assertEqual(
                {each for each in needed - there if each[1] not in THEIRS}, set(), name
            )
            self.assertEqual(len(there), len(manifests), name)
            for pod in pods(manifests).values():
                volumes = {each["name"] for each in pod["spec"].get("volumes", [])}
                mounts = {
                    mount["name"]
                    for each in containers(pod)
                    for mount in each.get("volumeMounts", [])
                }
                self.assertLessEqual(volumes, mounts, name)

    def test_selects_pods_that_are_there(self) -> None:
        for name, manifests in self.rendered.items():
            labels = {each: pod["metadata"]["labels"] for each, pod in pods(manifests).items()}
            for manifest in manifests:
                spec = manifest.get("spec", {})
                selector = spec.get("podSelector", spec.get("selector"))
                if selector is None or manifest["kind"] == "ServiceMonitor":
                    continue
                wanted = selector.get("matchLabels", selector).items()
                of = manifest["metadata"]["name"]
                selected = [each for each, there in labels.items() if wanted <= there.items()]
                self.assertEqual(selected, [of], f"{name}: {manifest['kind']}")
                if manifest["kind"] == "Service":
                    ports = {
                        port["name"]
                        for each in containers(pods(manifests)[of])
                        for port in each.get("ports", [])
                    }
                    self.assertLessEqual({each["targetPort"] for each in spec["ports"]}, ports)

    def test_passes_flags_that_the_programs_know(self) -> None:
        for name, manifests in self.rendered.items():
            lines = command_lines(manifests)
            wanted = set(PROGRAMS) - {"kvasir", "kvasir-gateway"}
            wanted |= {"kvasir-gateway"} if "gateway" in SETS[name] else set()
            self.assertEqual({line[0] for line, _ in lines} - {"kvasir"}, wanted, name)
            for command, variables in lines:
                self.assertEqual(unknown_flags(command, variables), [], f"{name}: {command}")
                names = [word.split("=")[0] for word in command]
                self.assertEqual(len(names), len(set(names)), command)

    def test_asks_for_keys_or_says_that_it_does_not(self) -> None:
        for name, manifests in self.rendered.items():
            auth = SETS[name].get("auth", {})
            jwt = auth.get("jwt", {})
            secrets = {"--api-keys": auth.get("apiKeysSecret"), "--jwt-keys": jwt.get("keysSecret")}
            for component in ("model", "tokenizer"):
                pod = pods(manifests)[f"kvasir-{component}"]["spec"]
                (container,) = pod["containers"]
                given = dict(word.partition("=")[::2] for word in container["args"])
                self.assertEqual("--insecure" in given, not any(secrets.values()), name)
                for flag, secret in secrets.items():
                    self.assertEqual(flag in given, bool(secret), name)
                    if secret:
                        self.assertEqual(self.secret_of(pod, given[flag]), secret)
                self.assertEqual(given.get("--jwt-audience"), jwt.get("audience"))
                self.assertEqual(given.get("--jwt-issuer"), jwt.get("issuer"))
                claim = jwt.get("tenantClaim", "sub") if jwt else None
                self.assertEqual(given.get("--jwt-tenant-claim"), claim)

    def secret_of(self, pod: dict[str, Any], file: str) -> str:
        """From which the file comes that the pod's container sees."""
        folder, _, path = file.rpartition("/")
        (mount,) = (m for m in pod["containers"][0]["volumeMounts"] if m["mountPath"] == folder)
        (volume,) = (v for v in pod["volumes"] if v["name"] == mount["name"])
        self.assertIn(path, [item["path"] for item in volume["secret"]["items"]])
        self.assertTrue(mount["readOnly"])
        return volume["secret"]["secretName"]

    def test_gateway_calls_by_the_proxy(self) -> None:
        for name in ("with a gateway", "with a gateway and certificates"):
            manifests = self.rendered[name]
            proxy = find(manifests, "Service", "kvasir-proxy")["spec"]["ports"][0]["port"]
            pod = pods(manifests)["kvasir-gateway"]["spec"]
            (container,) = pod["containers"]
            given = dict(word.partition("=")[::2] for word in container["args"])
            for flag in ("--tokenizer-server", "--model-server"):
                self.assertEqual(given[flag], f"kvasir-proxy:{proxy}")
            self.assertEqual(container["readinessProbe"]["httpGet"]["path"], "/healthz")
            service = find(manifests, "Service", "kvasir-gateway")["spec"]
            self.assertEqual(service["sessionAffinity"], "ClientIP")
        secrets = {"ca": "authority", "cert": "certificate-of-ours", "key": "certificate-of-ours"}
        for flag, secret in secrets.items():
            self.assertEqual(self.secret_of(pod, given[f"--tls-{flag}"]), secret)
        callers = find(manifests, "NetworkPolicy", "kvasir-proxy")["spec"]["ingress"][1]["from"]
        selected = [each.get("podSelector", {}).get("matchLabels", {}) for each in callers]
        component = "app.kubernetes.io/component"
        self.assertIn("gateway", [labels.get(component) for labels in selected])

    def test_keeps_sessions(self) -> None:
        stores = {}
        for name, manifests in self.rendered.items():
            model = pods(manifests)["kvasir-model"]["spec"]["containers"][0]
            store = next(each for each in model["env"] if each["name"] == "KVASIR_SESSION_STORE")
            stores[name] = store.get("value") or store["valueFrom"]["secretKeyRef"]["name"]
        self.assertEqual(stores["as it is"], "sqlite:/var/lib/kvasir/sessions/sessions.db")
        self.assertEqual(stores["an own Redis"], "redis-of-ours")
        self.assertEqual(stores["by need"], "redis://:$(REDIS_PASSWORD)@kvasir-redis:6379/0")
        claims = workloads(self.rendered["as it is"])["kvasir-model"]["spec"][
            "volumeClaimTemplates"
        ]
        self.assertEqual([each["metadata"]["name"] for each in claims], ["sessions"])
        redis = pods(self.rendered["by need"])["kvasir-redis"]["spec"]["containers"][0]
        self.assertIn("always", redis["args"])

    def test_lets_calls_end_before_it_kills(self) -> None:
        source = (ROOT / "services/server.cc").read_text()
        drain = int(re.search(r"kDrainLimit = absl::Seconds\((\d+)\)", source)[1])
        for manifests in self.rendered.values():
            for name in ("kvasir-model", "kvasir-tokenizer", "kvasir-proxy"):
                spec = pods(manifests)[name]["spec"]
                before = spec["containers"][0]["lifecycle"]["preStop"]["sleep"]["seconds"]
                own = drain
                if name != "kvasir-proxy":  # which finds the others by DNS
                    self.assertGreaterEqual(before, DNS_MEMORY)
                    ready = workloads(manifests)[name]["spec"]["minReadySeconds"]
                    self.assertGreater(ready, DNS_MEMORY)
                if name == "kvasir-proxy":
                    config = find(manifests, "ConfigMap", name)["data"]["haproxy.cfg"]
                    own = int(re.search(r"hard-stop-after (\d+)s", config)[1])
                self.assertGreaterEqual(spec["terminationGracePeriodSeconds"], before + own + 5)

    def test_is_probed_on_the_metrics_port(self) -> None:
        for manifests in self.rendered.values():
            for name in ("kvasir-model", "kvasir-tokenizer"):
                container = pods(manifests)[name]["spec"]["containers"][0]
                for probe, path in (
                    ("startup", "/readyz"),
                    ("readiness", "/readyz"),
                    ("liveness", "/healthz"),
                ):
                    get = container[f"{probe}Probe"]["httpGet"]
                    self.assertEqual(get, {"path": path, "port": "metrics"})

    def test_may_do_no_more_than_it_must(self) -> None:
        for manifests in self.rendered.values():
            for name, pod in pods(manifests).items():
                self.assertIs(pod["spec"]["automountServiceAccountToken"], False, name)
                self.assertIs(pod["spec"]["securityContext"]["runAsNonRoot"], True, name)
                for container in containers(pod):
                    security = container["securityContext"]
                    self.assertIs(security["readOnlyRootFilesystem"], True, name)
                    self.assertIs(security["allowPrivilegeEscalation"], False, name)
                    self.assertEqual(security["capabilities"], {"drop": ["ALL"]}, name)
                    self.assertIn("memory", container["resources"]["limits"], name)
            secrets = [each for each in manifests if each["kind"] == "Secret"]
            for secret in secrets:
                text = json.dumps([each for each in manifests if each != secret])
                self.assertNotIn(secret["data"]["password"], text)

    def test_leads_gpus_to_the_image_that_has_use_for_them(self) -> None:
        model = pods(self.rendered["a GPU"])["kvasir-model"]["spec"]
        self.assertEqual(model["containers"][0]["image"], "kvasir:0.1.0-cuda")
        self.assertEqual(model["containers"][0]["resources"]["limits"]["nvidia.com/gpu"], 1)
        self.assertIn("--device=cuda", model["containers"][0]["args"])
        model = pods(self.rendered["as it is"])["kvasir-model"]["spec"]
        self.assertEqual(model["containers"][0]["image"], "kvasir:0.1.0")
        self.assertNotIn("nvidia.com/gpu", model["containers"][0]["resources"]["limits"])

    def test_version_is_that_of_the_programs(self) -> None:
        version = re.search(
            r"project\(kvasir VERSION (\S+)", (ROOT / "CMakeLists.txt").read_text()
        )[1]
        chart = yaml.safe_load((CHART / "Chart.yaml").read_text())
        self.assertEqual((chart["version"], chart["appVersion"]), (version, version))

    def test_notes_are_right(self) -> None:
        with tempfile.TemporaryDirectory() as folder:
            copy = Path(folder, "kvasir")
            shutil.copytree(CHART, copy)
            (copy / "templates/NOTES.txt").rename(copy / "notes.txt")
            (copy / "templates/notes.yaml").write_text(
                'kind: Notes\nmetadata: {name: notes}\ntext: {{ tpl (.Files.Get "notes.txt") . | toJson }}\n'
            )
            notes = {}
            for name, values in SETS.items():
                result = helm("template", values, "--show-only=templates/notes.yaml", chart=copy)
                self.assertEqual(result.returncode, 0, result.stderr)
                notes[name] = yaml.safe_load(result.stdout)["text"]
        given = set(re.findall(r" (--[a-z-]+-server|--session)=", notes["as it is"]))
        self.assertEqual(given, {"--tokenizer-server", "--model-server", "--session"})
        self.assertLessEqual(given, known_flags("kvasir", "chat")[0])
        self.assertIn("not authenticated", notes["as it is"])
        self.assertNotIn("not authenticated", notes["open to the world"])
        self.assertNotIn("not authenticated", notes["with keys"])
        self.assertIn("a key of the Secret keys-of-ours", notes["with keys"])
        self.assertNotIn("not authenticated", notes["with tokens"])
        self.assertIn("must show a token for kvasir", notes["with tokens"])
        self.assertIn("may show a token for kvasir", notes["with keys and tokens"])
        self.assertIn(
            "svc.cluster.local:443, with TLS and clients' cert", notes["open to the world"]
        )
        self.assertIn("the embedded model", notes["the embedded model"])


class PrometheusTest(unittest.TestCase):
    def check_rules(self, rules: dict[str, Any]) -> None:
        with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
            file.write(json.dumps(rules))
            file.flush()
            result = subprocess.run(
                ["promtool", "check", "rules", file.name],
                capture_output=True,
                text=True,
                check=False,
            )
        self.assertEqual(result.returncode, 0, result.stderr)

    def test_operator_gets_the_rules_that_are_tested(self) -> None:
        manifests = render(SETS["all that can be set"])
        rule = find(manifests, "PrometheusRule", "kvasir")
        self.check_rules(rule["spec"])
        ours = [
            yaml.safe_load((ROOT / f"deploy/prometheus/{name}.yaml").read_text())["groups"]
            for name in ("recording", "alerts")
        ]
        self.assertEqual(
            [each["rules"] for each in rule["spec"]["groups"]],
            [group["rules"] for groups in ours for group in groups],
        )
        monitor = find(manifests, "ServiceMonitor", "kvasir")
        self.assertEqual(monitor["metadata"]["labels"]["release"], "prometheus")
        (endpoint,) = monitor["spec"]["endpoints"]
        scraped = [
            each["metadata"]["name"]
            for each in manifests
            if each["kind"] == "Service"
            and monitor["spec"]["selector"]["matchLabels"].items()
            <= each["metadata"]["labels"].items()
            and endpoint["port"] in (port["name"] for port in each["spec"]["ports"])
        ]
        self.assertEqual(sorted(scraped), ["kvasir-model", "kvasir-tokenizer"])

    def test_adapter_tells_what_autoscaling_asks_for(self) -> None:
        adapter = yaml.safe_load((ROOT / "deploy/prometheus/adapter.yaml").read_text())
        told, rules = set(), []
        for rule in adapter["rules"]["custom"]:
            series = rule["seriesQuery"].split("{")[0]
            told.add(rule.get("name", {}).get("as", series))
            query = rule["metricsQuery"].replace("<<.Series>>", series)
            query = query.replace("<<.LabelMatchers>>", 'namespace="chat",pod="kvasir-model-0"')
            rules.append({"record": "x", "expr": query.replace("<<.GroupBy>>", "pod")})
            rules.append({"record": "y", "expr": rule["seriesQuery"]})
        self.assertNotIn("<<", json.dumps(rules))
        self.check_rules({"groups": [{"name": "adapter", "rules": rules}]})
        scaler = find(render(SETS["by need"]), "HorizontalPodAutoscaler", "kvasir-model")["spec"]
        self.assertEqual({each["pods"]["metric"]["name"] for each in scaler["metrics"]}, told)
        self.assertEqual(scaler["scaleTargetRef"]["name"], "kvasir-model")

    def test_composes_configuration_is_right(self) -> None:
        file = ROOT / "deploy/prometheus/compose.yaml"
        result = subprocess.run(
            ["promtool", "check", "config", file], capture_output=True, text=True, check=False
        )
        self.assertEqual(result.returncode, 0, result.stderr)


if __name__ == "__main__":
    unittest.main()
