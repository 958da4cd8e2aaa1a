# SPDX-License-Identifier: BSD-3-Clause
# Copyright (c) 2026 Telepage developers
"""Three nodes share memory: files, counters, regions, and the command's manners."""

from cluster import PMDS
from cluster_suite import MIB, ClusterSuite, port_variants


class TestSharing(ClusterSuite):
    """What every program relies on."""

    # Also nodes that do not have as many workers as the others.
    variants = (*port_variants(xdp=True), *({"pmd": pmd, "workers": (1, 2, 3)} for pmd in PMDS))

    def test_file_put_on_one_node_is_read_on_all(self) -> None:
        """A file larger than the caches goes from one node to all of them.

        Steps:
            Put 6 MiB of random bytes into a striped region from node 1, read them on
            all nodes at once; overwrite the last MiB from node 2.
        Verify:
            Every node reads what was put, and then the change.
        """
        region = self.region("file", "8M", "--distribution", "striped")
        data = self.data(6 * MIB)
        self.cluster.command(1, "put", region, data)
        targets = [self.lab.scratch() / f"file{number}" for number in self.cluster.numbers]
        readers = [self.cluster.start_command(f"get{number}", number, "get", region, target,
                                              "--bytes", 6 * MIB)
                   for number, target in zip(self.cluster.numbers, targets)]
        for reader, target in zip(readers, targets):
            self.verify(reader.wait(60) == 0, f"{reader.name}:\n{reader.output()}")
            self.verify(target.read_bytes() == data.read_bytes(),
                        f"{reader.name} read something else than was put")
        change = self.data(MIB)
        self.cluster.command(2, "put", region, change, "--offset", 5 * MIB)
        for number in self.cluster.numbers:
            self.verify_get(number, region, change, 5 * MIB)

    def test_regions_of_each_distribution_hold_data(self) -> None:
        """Homes on one node, on all in turn, and where a page is used first.

        Steps:
            For home, striped and first-touch: put a file from node 2, read on 1 and 3.
        Verify:
            The bytes are the same.
        """
        data = self.data(MIB)
        for distribution in ("home", "striped", "first-touch"):
            region = self.region(f"d.{distribution}", "1M", "--distribution", distribution)
            self.cluster.command(2, "put", region, data)
            self.verify_get(1, region, data)
            self.verify_get(3, region, data)
            self.cluster.command(3, "region", "rm", region)

    def test_counters_on_all_nodes_are_exact(self) -> None:
        """Programs on three nodes increment the same words.

        Steps:
            On each node 10,000 increments over 8 words, 16 in flight; on node 2 a
            program watches the words meanwhile.
        Verify:
            No read is out of the range that is true at its time; the totals are exact
            on every node.
        """
        region, truth = self.region("counters"), self.truth()
        watch = self.load(2, "watch", region, words=8, truth=truth)
        loads = [self.load(number, "increment", region, words=8, count=10000, window=16,
                           truth=truth) for number in self.cluster.numbers]
        for load in loads:
            result = load.result(90)
            self.verify_clean(result)
            self.verify(result["done"] == 10000, f"{result['done']} increments, not 10000")
        self.verify_clean(watch.stop())
        for number in self.cluster.numbers:
            totals = [self.word(number, region, 8 * i) for i in range(8)]
            self.verify(totals == [3750] * 8, f"node {number} reads {totals}")

    def test_region_reset_and_removed_is_gone_everywhere(self) -> None:
        """A region's life, seen from other nodes.

        Steps:
            Create a region, write a word on node 2, reset it from node 3, write again,
            remove it from node 2; use it after each step.
        Verify:
            The word is 0 after the reset; the name is unknown after the removal, and
            can be used again for a region that starts with zeros.
        """
        region = self.region("life")
        self.cluster.command(2, "atomic", region, 8, "store", 77)
        self.verify(self.word(3, region, 8) == 77, "the word is not 77")
        self.cluster.command(3, "region", "reset", region)
        for number in self.cluster.numbers:
            self.verify(self.word(number, region, 8) == 0, "a reset region is not zero")
        self.cluster.command(1, "atomic", region, 8, "store", 78)
        self.cluster.command(2, "region", "rm", region)
        for number in self.cluster.numbers:
            self.command_refused(number, "atomic", region, 8, "load")
            listing = self.cluster.command(number, "region", "ls")
            self.verify("life" not in listing, f"node {number} still lists it: {listing}")
        self.region("life")
        for number in self.cluster.numbers:
            self.verify(self.word(number, region, 8) == 0, "a new region is not zero")

    def test_command_wrong_input_is_refused(self) -> None:
        """What a person may get wrong.

        Steps:
            Give the command unknown regions, files and words, offsets and sizes past
            the end, values that are no numbers, names that are none.
        Verify:
            Each fails with a message and a status of 1 or 2; the nodes are unharmed.
        """
        region = self.region("input", "64K")
        nobody = self.lab.scratch() / "nobody"
        wrong = (
            ("nonsense",), ("region",), ("region", "nonsense"),
            ("region", "create", region, "--size", "64K"),
            ("region", "create", "x"), ("region", "create", "x", "--size", "0"),
            ("region", "create", "x", "--size", "64Q"),
            ("region", "create", "x", "--size", "-1"),
            ("region", "create", "x", "--size", "64K", "--page", "1000"),
            ("region", "create", "x", "--size", "64K", "--distribution", "nowhere"),
            ("region", "create", "x", "--size", "64K", "--nodes", "1,99"),
            ("region", "create", "X Y", "--size", "64K"),
            ("region", "create", "n" * 64, "--size", "64K"),
            ("region", "create", "huge", "--size", "900000T"),
            ("region", "rm", "nothing"), ("region", "reset", "nothing"),
            ("put", region, nobody), ("put", "nothing", "/etc/passwd"), ("put", region),
            ("put", region, self.data(100000)),
            ("get", region, self.lab.scratch() / "out", "--offset", "65K"),
            ("get", region, self.lab.scratch() / "out", "--bytes", "65K"),
            ("get", region, "/nonexistent/out"),
            ("atomic", region, "4", "add", "1"), ("atomic", region, "64K", "load"),
            ("atomic", region, "0", "multiply", "2"), ("atomic", region, "0", "add", "one"),
            ("atomic", region, "0", "add", "1", "--width", "3"),
            ("atomic", region, "0", "add", "1", "--count", "0"),
        )
        for words in wrong:
            self.command_refused(2, *words)
        self.verify_alive()
        self.verify("huge" not in self.cluster.command(1, "region", "ls"),
                    "a refused region exists")
