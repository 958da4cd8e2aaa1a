# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Atomics against everything that may get in their way."""

from cluster import PMDS
from cluster_suite import ClusterSuite, port_variants
from lab import wait_until

COUNT = 12000
WORDS = 4


class TestAtomics(ClusterSuite):
    """Remote fetch-add on pages that others read, write next to, and evict."""

    # Also nodes that do not have as many workers as the others.
    variants = (*port_variants(xdp=True), *({"pmd": pmd, "workers": (1, 2, 3)} for pmd in PMDS))

    def test_atomics_among_readers_writers_and_evictions_are_exact(self) -> None:
        """Everything at once, on all nodes.

        Steps:
            On each node at once: fetch-add on words that stand 64 bytes apart; reads of
            them; writes to a word next to them that is this node's own; and accesses
            all over 4 MiB with 1 MiB of cache, which also drop the words' page.
        Verify:
            No read is out of the range that is true at its time; nobody's own word is
            lost; the totals are exact on every node; pages were evicted.
        """
        region, truth = self.region("atomics", "4M"), self.truth()
        churn, watch, write = [], [], []
        for number in self.cluster.numbers:
            churn.append(self.load(number, "churn", region, offset=65536, words=2, seed=number))
        # Caches are full before the counting begins.
        wait_until(lambda: all(self.cluster.telemetry(number)["evictions"]
                               for number in self.cluster.numbers), 60, "eviction")
        for number in self.cluster.numbers:
            watch.append(self.load(number, "watch", region, words=WORDS, stride=64, truth=truth))
            write.append(self.load(number, "write", region, words=WORDS, stride=64,
                                   offset=8 * number))
        counters = [self.load(number, "increment", region, words=WORDS, stride=64, count=COUNT,
                              window=8, timeout=30000, truth=truth)
                    for number in self.cluster.numbers]
        for load in counters:
            result = load.result(100)
            self.verify_clean(result)
            self.verify(result["done"] == COUNT, f"{result['done']} increments")
        for load in watch + write + churn:
            result = load.stop()
            self.verify_clean(result)
            self.verify(result["done"] > 0, f"{result['mode']} did nothing")
        for number in self.cluster.numbers:
            totals = [self.word(number, region, 64 * i) for i in range(WORDS)]
            self.verify(totals == [3 * COUNT // WORDS] * WORDS, f"node {number}: {totals}")
        stats = [self.cluster.telemetry(number) for number in self.cluster.numbers]
        for name in ("evictions", "write_backs", "invalidations", "recalls", "atomics_sent"):
            self.verify(sum(node[name] for node in stats) > 0, f"no {name}: nothing was tested")
        for number, node in zip(self.cluster.numbers, stats):
            self.verify(node["protocol_errors"] == 0 and node["bad_messages"] == 0,
                        f"node {number} counts errors of the protocol")
