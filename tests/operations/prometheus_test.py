"""A real Prometheus scrapes both services: rules, alerts, dashboard and the table in docs/operations.md
agree with what they export.
"""

import json
import re
import shutil
import subprocess
import time
import unittest
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import grpc

from services import ROOT, Program, ServiceTest, generate, model_pb2, tokenizer_pb2, wait_for

RULES = ROOT / "deploy/prometheus"
DASHBOARD = ROOT / "deploy/grafana/kvasir.json"
OPERATIONS = ROOT / "docs/operations.md"
NAME = re.compile(r"\b(?:kvasir[\w:]+|gen_ai_\w+|process_\w+|up)(?=[{\[ ]|$)")


def tool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess:
    return subprocess.run(
        ["promtool", *arguments], input=text, capture_output=True, text=True, check=False
    )


def families(text: str) -> dict[str, tuple[str, frozenset[str]]]:
    """The metrics of a scrape: type and names of labels, without those of histograms."""
    found: dict[str, tuple[str, set[str]]] = {}
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split()
            found[name] = (kind, set())
        elif not line.startswith("#"):
            series = re.match(r"(\w+)(?:\{(.*)\})? ", line)
            base = re.sub(r"_(bucket|sum|count)$", "", series[1])
            name = base if found.get(base, ("",))[0] == "histogram" else series[1]
            labels = set(re.findall(r'(\w+)="', series[2] or "")) - {"le"}
            found[name][1].update(labels)
    return {name: (kind, frozenset(labels)) for name, (kind, labels) in found.items()}


class Prometheus:
    def __init__(self, folder: Path, targets: dict[str, Program]) -> None:
        config = {
            "global": {"scrape_interval": "200ms", "evaluation_interval": "200ms"},
            "rule_files": [str(RULES / "recording.yaml"), str(RULES / "alerts.yaml")],
            "scrape_configs": [
                {"job_name": job, "static_configs": [{"targets": [program.metrics]}]}
                for job, program in targets.items()
            ],
        }
        (folder / "prometheus.yaml").write_text(json.dumps(config))  # JSON is YAML
        self.log = (folder / "log").open("w+")
        self.process = subprocess.Popen(
            [
                *("prometheus", f"--config.file={folder / 'prometheus.yaml'}"),
                *(f"--storage.tsdb.path={folder / 'data'}", "--web.listen-address=127.0.0.1:0"),
            ],
            stderr=self.log,
        )
        self.address = wait_for(self.bound_address, "Prometheus")
        wait_for(self.is_ready, "Prometheus is ready")

    def bound_address(self) -> str | None:
        self.log.seek(0)
        found = re.search(r"Listening on\" address=(\S+)", self.log.read())
        return found[1] if found else None

    def is_ready(self) -> bool:
        try:
            return (
                urllib.request.urlopen(f"http://{self.address}/-/ready", timeout=30).status == 200
            )
        except urllib.error.HTTPError:
            return False

    def ask(self, what: str, **parameters: str) -> Any:
        url = f"http://{self.address}/api/v1/{what}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=30) as answer:
            return json.load(answer)["data"]

    def query(self, expression: str) -> list[dict[str, Any]]:
        return self.ask("query", query=expression)["result"]

    def stop(self) -> None:
        self.process.kill()
        self.process.wait()
        self.log.close()


class RulesTest(unittest.TestCase):
    def test_promtool_accepts_them(self) -> None:
        self.assertIsNotNone(shutil.which("promtool"), "scripts/setup.sh installs prometheus")
        for arguments in (
            ("check", "config", RULES / "prometheus.yaml"),
            ("check", "rules", RULES / "recording.yaml", RULES / "alerts.yaml"),
            ("test", "rules", RULES / "alerts_test.yaml"),
        ):
            result = tool(*arguments)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)

    def test_each_alert_is_tested_and_documented(self) -> None:
        alerts = re.findall(r"- alert: (\w+)", (RULES / "alerts.yaml").read_text())
        self.assertGreater(len(alerts), 10)
        tests = (RULES / "alerts_test.yaml").read_text()
        documented = re.findall(r"^### (Kvasir\w+)$", OPERATIONS.read_text(), re.MULTILINE)
        self.assertEqual(sorted(documented), sorted(alerts))
        for alert in alerts:
            self.assertIn(f"name: {alert} comes\n", tests)
            self.assertIn(f"name: {alert} does not come\n", tests)


class PrometheusTest(ServiceTest):
    def setUp(self) -> None:
        folder = self.folder()
        self.model = self.start("kvasir-model", f"--session-store=sqlite:{folder / 'store'}")
        self.tokenizer = self.start("kvasir-tokenizer")
        self.programs = {"kvasir-model": self.model, "kvasir-tokenizer": self.tokenizer}
        for program in self.programs.values():
            program.serve()

    def use_everything(self) -> None:
        generate(self.model, session_id="s", input_ids=range(20), create_if_missing=True)
        generate(self.model, session_id="s")
        with self.assert_code(grpc.StatusCode.NOT_FOUND):
            generate(self.model, session_id="none", input_ids=[1])
        self.model.model.ListSessions(model_pb2.ListSessionsRequest())
        encoded = self.tokenizer.tokenizer.Encode(tokenizer_pb2.EncodeRequest(text="Anna"))
        self.tokenizer.tokenizer.Decode(tokenizer_pb2.DecodeRequest(ids=encoded.ids))

    def test_metrics_are_those_of_the_table(self) -> None:
        self.use_everything()
        wait_for(lambda: self.model.metric(
            'kvasir_requests_total{code="OK",method="ListSessions"}') == 1, "all calls counted")  # fmt: skip
        wait_for(lambda: self.tokenizer.metric(
            'kvasir_requests_total{code="OK",method="Decode"}') == 1, "all calls counted")  # fmt: skip
        exported = {}
        for job, program in self.programs.items():
            text = program.get("/metrics")[1]
            result = tool("check", "metrics", text=text)
            self.assertEqual(result.returncode, 0, result.stdout + result.stderr)
            self.assertEqual(result.stderr, "")
            for name, found in families(text).items():
                exported.setdefault(name, (*found, set()))[2].add(job.removeprefix("kvasir-"))

        row = re.compile(r"^\| `(\w+)` \| (\w+) \| (.*?) \| (\w+) \| [^|]+ \|$", re.MULTILINE)
        documented = {
            name: (
                kind,
                frozenset(re.findall(r"`(\w+)`", labels)),
                {"model", "tokenizer"} if service == "both" else {service},
            )
            for name, kind, labels, service in row.findall(OPERATIONS.read_text())
        }
        self.maxDiff = None
        self.assertEqual(documented, exported)

    def test_a_scrape_is_quick(self) -> None:
        self.use_everything()
        times = []
        for _ in range(50):  # the least of them: others use this machine too
            begun = time.perf_counter()
            self.model.get("/metrics")
            times.append(time.perf_counter() - begun)
        self.assertLess(min(times), 0.005)

    def test_prometheus_scrapes_and_evaluates(self) -> None:
        prometheus = Prometheus(self.folder(), self.programs)
        self.addCleanup(prometheus.stop)

        def up() -> bool:
            return len(prometheus.query("up == 1")) == len(self.programs)

        wait_for(up, "both targets are up")
        self.use_everything()  # so that there are rates
        names = set(re.findall(r"- record: (\S+)", (RULES / "recording.yaml").read_text()))

        def known() -> set[str]:
            return set(prometheus.ask("label/__name__/values"))

        wait_for(lambda: names <= known(), f"recorded {names}")
        for group in prometheus.ask("rules")["groups"]:
            for rule in group["rules"]:
                self.assertEqual(rule["health"], "ok", rule)
        self.check_dashboard(prometheus, known())
        self.assertEqual(prometheus.query("scrape_samples_scraped == 0"), [])
        firing = prometheus.query('ALERTS{alertstate="firing"}')
        self.assertEqual(firing, [])

        self.tokenizer.process.kill()
        down = 'ALERTS{alertname="KvasirDown",alertstate="pending"}'
        (alert,) = wait_for(lambda: prometheus.query(down), "KvasirDown")
        self.assertEqual(alert["metric"]["instance"], self.tokenizer.metrics)

    def check_dashboard(self, prometheus: Prometheus, known: set[str]) -> None:
        dashboard = json.loads(DASHBOARD.read_text())
        targets = [
            target["expr"] for panel in dashboard["panels"] for target in panel.get("targets", [])
        ]
        self.assertGreater(len(targets), 40)
        for expression in targets:
            self.assertLessEqual(set(NAME.findall(expression)), known, expression)
            for variable, value in (
                ("$__rate_interval", "1m"),
                ("$job", "kvasir.*"),
                ("$instance", ".*"),
            ):
                expression = expression.replace(variable, value)
            self.assertNotIn("$", expression)
            # An error for what does not parse.
            self.assertNotEqual(prometheus.query(expression), [], expression)
        ids = [panel["id"] for panel in dashboard["panels"]]
        self.assertEqual(len(set(ids)), len(ids))


if __name__ == "__main__":
    unittest.main()
