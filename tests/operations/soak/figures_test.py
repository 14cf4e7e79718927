"""What the soak makes of its figures: that it finds what grows, is lost or was counted wrongly."""

import random
import unittest
import xml.etree.ElementTree as ElementTree

from fleet import Member, Sample
from ledger import Attempt, Range, compare, expected_counters, possible_moves
from plot import ceiling, plot, thin
from trend import trend
from verdict import FLAT, Verdict

MIB = 1 << 20


def noisy(growth: float, noise: float, seed: int = 1) -> list[tuple[float, float]]:
    """900 samples, a second apart, of 80 MiB and what is added over all of them; noise that lasts."""
    random_ = random.Random(seed)
    error, samples = 0.0, []
    for second in range(900):
        error = 0.9 * error + random_.gauss(0, noise)
        samples.append((float(second), 80 * MIB + growth * second / 900 + error))
    return samples


class TrendTest(unittest.TestCase):
    def test_finds_a_line_in_noise(self) -> None:
        line = trend(noisy(growth=3 * MIB, noise=0.05 * MIB))
        self.assertAlmostEqual(line.growth() / MIB, 3, delta=0.3)
        self.assertLess(line.least_growth(), 3 * MIB)
        self.assertGreater(line.most_growth(), 3 * MIB)

    def test_no_outlier_moves_it(self) -> None:
        samples = noisy(growth=0, noise=0.05 * MIB)
        for second in range(300, 330):
            samples[second] = (float(second), 500.0 * MIB)
        self.assertLess(abs(trend(samples).growth()), 0.3 * MIB)

    def test_its_bounds_hold_what_they_say(self) -> None:
        # Of 60 lines whose growth is known, 99 % should have it within their bounds; five misses are
        # not to be expected of that (binomial: under 0.05 %).
        missed = 0
        for seed in range(60):
            line = trend(noisy(growth=2 * MIB, noise=0.05 * MIB, seed=seed))
            missed += not line.least_growth() <= 2 * MIB <= line.most_growth()
        self.assertLess(missed, 5)

    def test_what_does_not_change_is_flat(self) -> None:
        line = trend([(float(second), 12.0) for second in range(100)])
        self.assertEqual((line.least, line.slope, line.most), (0, 0, 0))


class VerdictTest(unittest.TestCase):
    def judge(self, growth: float, noise: float = 0.02 * MIB) -> Verdict:
        member = Member("replica1")
        member.samples = [
            Sample(300 + seconds, int(memory), 14, 22) for seconds, memory in noisy(growth, noise)
        ]
        verdict = Verdict()
        verdict.check_growth(member, seconds=1200)
        self.assertEqual(len(verdict.checks), 3)
        return verdict

    def test_a_leak_is_found(self) -> None:
        self.assertTrue(self.judge(growth=0).held())
        self.assertFalse(self.judge(growth=2 * FLAT * 80 * MIB).held())

    def test_noise_in_which_a_leak_could_hide_is_no_proof(self) -> None:
        self.assertFalse(self.judge(growth=0, noise=2 * MIB).held())


def call(begun: float, code: str = "OK", **fields: object) -> Attempt:
    told = fields.pop("told", True)
    return Attempt("Generate", "a", "s", begun, begun + 0.1, code, told, arrived=True, **fields)


class LedgerTest(unittest.TestCase):
    OK = 'kvasir_requests_total{code="OK",method="Generate"}'
    CANCELLED = 'kvasir_requests_total{code="CANCELLED",method="Generate"}'
    TOKENS = "kvasir_generated_tokens_total"

    def test_what_is_known_must_be_exact(self) -> None:
        attempts = [call(second, least_tokens=5, most_tokens=5) for second in range(3)]
        ranges = expected_counters(attempts, [])
        self.assertEqual(ranges[self.OK], Range(3, 3))
        self.assertEqual(ranges[self.TOKENS], Range(15, 15))
        right = {self.OK: 3, self.TOKENS: 15, 'kvasir_tenant_calls_total{tenant="a"}': 3}
        right['kvasir_tenant_generated_tokens_total{tenant="a"}'] = 15
        self.assertEqual(compare(ranges, right), [])
        for series in right:
            self.assertNotEqual(compare(ranges, right | {series: right[series] - 1}), [], series)
            self.assertNotEqual(compare(ranges, right | {series: right[series] + 1}), [], series)
        self.assertNotEqual(compare(ranges, right | {self.OK.replace("OK", "INTERNAL"): 1}), [])

    def test_who_is_cut_off_does_not_know_the_code(self) -> None:
        ranges = expected_counters([call(0), call(1, told=False, most_tokens=9)], [])
        self.assertEqual(ranges[self.OK], Range(1, 2))
        self.assertEqual(ranges[self.CANCELLED], Range(0, 1))
        self.assertEqual(ranges["calls of Generate"], Range(2, 2))

    def test_counters_die_with_their_process(self) -> None:
        attempts = [call(second, least_tokens=5, most_tokens=5) for second in (0, 10, 20)]
        ranges = expected_counters(attempts, losses=[(10, 10.5)])
        self.assertEqual(ranges[self.OK], Range(2, 3))
        self.assertEqual(ranges[self.TOKENS], Range(10, 15))

    def test_moves_need_an_occasion(self) -> None:
        attempts = [call(second) for second in (0, 10, 20, 30)]
        self.assertEqual(possible_moves(attempts, [], set()), 0)
        self.assertEqual(possible_moves(attempts, [(12, 13)], set()), 1)
        self.assertEqual(possible_moves(attempts, [(0, 40)], set()), 2)  # there and back
        self.assertEqual(possible_moves(attempts, [], {"s"}), 1)


class PlotTest(unittest.TestCase):
    def test_is_an_image_with_all_that_was_given(self) -> None:
        panels = {"Memory": {"replica<1>": [(0.0, 1.0), (600.0, 7.0)]}, "Nothing": {"none": []}}
        image = plot("Soak", panels, [(300.0, "kill -9")], 1200)
        texts = [each.text for each in ElementTree.fromstring(image).iter() if each.text]
        for text in ("Soak", "Memory", "Nothing", "replica<1>", "kill -9", "20 min"):
            self.assertIn(text, texts)

    def test_no_peak_goes(self) -> None:
        line = [(float(second), float(second == 777)) for second in range(2000)]
        self.assertIn((777.0, 1.0), thin(line))
        self.assertLessEqual(len(thin(line)), 251)

    def test_scales_end_with_round_numbers(self) -> None:
        self.assertEqual([ceiling(each) for each in (1, 7, 11, 99)], [1, 8, 20, 100])


if __name__ == "__main__":
    unittest.main()
