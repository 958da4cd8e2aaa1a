/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * libFuzzer target: a pool that somebody else wrote. A sound one, crashed or closed, is
 * patched; then it is opened for reading, checked, opened for writing, used, checked
 * with repair and opened again. Checksums of what was patched are put right unless the
 * input says otherwise, or nothing would get past them.
 *
 * Input: a byte of flags, then patches of 12 bytes: where, how, place (2), value (8).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <rte_common.h>

#include "btree_priv.h"
#include "heap.h"
#include "pmem_priv.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
size_t LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed);
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t size_max);

#define POOL_BYTES TP_PMEM_POOL_BYTES_MIN
#define POOL_PAGES (POOL_BYTES / PMEM_PAGE_BYTES)
#define LANES 2u
#define LANE_BYTES PMEM_LANE_BYTES_MIN
#define KEYS 150u
#define BIG_BYTES 20000u	/* more than a lane: logged in an extent */
#define TARGETS_MAX 256u
#define STEPS_MAX 1000u

#define FLAG_CLOSED 1u
#define FLAG_PAGES 2u
#define FLAG_SHORT 4u

enum target_kind {
	TARGET_ANY,		/* all of the pool, lines of it */
	TARGET_SUPER,
	TARGET_STATE,
	TARGET_ROOT,
	TARGET_EXTENT,		/* logged entries in the heap: before the record that has their CRC */
	TARGET_RECORD,
	TARGET_KIND,
	TARGET_BITMAP,
	TARGET_WEAR,
	TARGET_VALUE,		/* before the leaf that has its CRC */
	TARGET_NODE,
	TARGET_HEAD,
};

struct target {
	enum target_kind kind;
	uint64_t offset;
	uint64_t bytes;
	uint64_t arg;		/* record: lane; extent and value: where its CRC is */
};

struct patch {
	uint8_t target;
	uint8_t how;		/* bits 0-1: enum how; 2: leave the checksum; 3-4: bytes */
	uint16_t at;
	uint8_t value[8];
};
static_assert(sizeof(struct patch) == 12, "of the input");

enum how { HOW_SET, HOW_XOR, HOW_ADD, HOW_TARGET };
#define HOW_UNSEALED 4u

/* A device in memory that remembers what was touched. */
struct memory {
	struct tp_pmem_device device;
	uint64_t touched[POOL_PAGES / 64];
};

struct fuzz {
	struct memory writer;
	struct memory reader;
	int fd;
	uint8_t *images[2];		/* crashed, closed */
	const uint8_t *image_now;	/* what media has, but for the pages touched */
	struct target targets[2][TARGETS_MAX];
	unsigned int target_count[2];
	unsigned int which;
};

static struct fuzz fuzz;

/* What is undefined is a finding, too. */
const char *__ubsan_default_options(void);

const char *
__ubsan_default_options(void)
{
	return "halt_on_error=1:print_stacktrace=1";
}

static void
must(bool what)
{
	if (!what)
		abort();
}

/*
 * The device.
 */
static void
touch(struct tp_pmem_device *device, const void *media, size_t bytes)
{
	struct memory *memory = (struct memory *)(void *)device;
	uint64_t begin = (uint64_t)((const uint8_t *)media - device->media);

	must(begin < POOL_BYTES && bytes <= POOL_BYTES - begin);
	for (uint64_t page = begin / PMEM_PAGE_BYTES; page * PMEM_PAGE_BYTES < begin + bytes; page++)
		memory->touched[page / 64] |= UINT64_C(1) << page % 64;
}

static void
memory_write(struct tp_pmem_device *device, void *media, const void *src, size_t bytes)
{
	touch(device, media, bytes);
	memcpy(media, src, bytes);
}

static bool
memory_replace(struct tp_pmem_device *device, uint64_t *media, uint64_t expected, uint64_t desired)
{
	touch(device, media, sizeof(*media));
	return __atomic_compare_exchange_n(media, &expected, desired, false, __ATOMIC_ACQ_REL,
		__ATOMIC_RELAXED);
}

static void
memory_flush(struct tp_pmem_device *device, const void *media, size_t bytes)
{
	uint64_t begin = (uint64_t)((const uint8_t *)media - device->media);

	must(begin < POOL_BYTES && bytes <= POOL_BYTES - begin);
}

static int
memory_fence(struct tp_pmem_device *device)
{
	return 0;
}

static int
memory_resize(struct tp_pmem_device *device, uint64_t bytes)
{
	return -ENOSPC;
}

static void
memory_view_drop(struct tp_pmem_device *device, uint64_t offset, uint64_t bytes)
{
	madvise(device->view + offset, bytes, MADV_DONTNEED);
}

static void
memory_close(struct tp_pmem_device *device)
{
}

static const struct tp_pmem_device_ops memory_ops = {
	.store = memory_write,
	.write = memory_write,
	.replace = memory_replace,
	.flush = memory_flush,
	.fence = memory_fence,
	.resize = memory_resize,
	.view_drop = memory_view_drop,
	.close = memory_close,
};

/* Between pages that may not be touched. */
static uint8_t *
map(int how)
{
	uint8_t *room = mmap(NULL, POOL_BYTES * 3, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	uint8_t *at;

	must(room != MAP_FAILED);
	at = mmap(room + POOL_BYTES, POOL_BYTES, PROT_READ | PROT_WRITE, how | MAP_FIXED, fuzz.fd, 0);
	must(at == room + POOL_BYTES);
	return at;
}

static void
devices_make(void)
{
	fuzz.fd = memfd_create("fuzz_pool", MFD_CLOEXEC);
	must(fuzz.fd >= 0 && ftruncate(fuzz.fd, (off_t)POOL_BYTES) == 0);
	fuzz.writer.device = (struct tp_pmem_device){
		.ops = &memory_ops,
		.media = map(MAP_SHARED),
		.view = map(MAP_PRIVATE),
		.bytes = POOL_BYTES,
		.granularity = TP_PMEM_GRANULARITY_CACHE_LINE,
	};
	fuzz.reader.device = (struct tp_pmem_device){
		.ops = &memory_ops,
		.media = map(MAP_PRIVATE),
		.bytes = POOL_BYTES,
		.granularity = TP_PMEM_GRANULARITY_PAGE,
		.read_only = true,
	};
	fuzz.reader.device.view = fuzz.reader.device.media;
}

/*
 * The pool that is patched.
 */
static struct tp_pmem_tx *
begin(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *tx;

	must(tp_pmem_tx_begin(pool, &tx) == 0);
	return tx;
}

static void
tree_fill(struct tp_pmem_pool *pool, uint32_t from, uint32_t to)
{
	struct tp_pmem_btree *tree;
	uint8_t value[2000];
	char key[16];

	must(tp_pmem_btree_open(pool, tp_pmem_root_get(pool, "tree"), &tree) == 0);
	for (uint32_t i = from; i < to; i++) {
		snprintf(key, sizeof(key), "key %06u", i * 7 % KEYS);
		memset(value, (int)i, sizeof(value));
		must(tp_pmem_btree_put(tree, NULL, key, 10, value, i % 40 == 3 ? 2000 : i % 90, 0) == 0);
	}
	tp_pmem_btree_close(tree);
}

/* Everything that the format has: runs, extents, a tree of two levels, roots. */
static void
pool_fill(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *tx = begin(pool);
	uint64_t tree, block;

	must(tp_pmem_btree_create(tx, &tree) == 0);
	must(tp_pmem_tx_root_set(tx, "tree", tree) == 0);
	must(tp_pmem_tx_alloc(tx, BIG_BYTES, TP_PMEM_ALLOC_ZERO, &block) == 0);
	must(tp_pmem_tx_root_set(tx, "big", block) == 0);
	must(tp_pmem_tx_alloc(tx, 300000, TP_PMEM_ALLOC_RAW, &block) == 0);
	must(tp_pmem_tx_root_set(tx, "extent", block) == 0);
	must(tp_pmem_tx_alloc(tx, 64, TP_PMEM_ALLOC_ZERO, &block) == 0);
	must(tp_pmem_tx_root_set(tx, "small", block) == 0);
	must(tp_pmem_tx_commit(tx, 0) == 0);
	tree_fill(pool, 0, KEYS);
}

/* What is in the log when it crashes: every kind of entry, in two lanes. */
static void
pool_crash(struct tp_pmem_pool *pool)
{
	struct tp_pmem_tx *first = begin(pool), *second = begin(pool);
	void *small = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "small"));
	void *big = tp_pmem_ptr(pool, tp_pmem_root_get(pool, "big"));
	uint64_t block = 7;

	must(tp_pmem_tx_write(first, small, &block, sizeof(block)) == 0);
	must(tp_pmem_tx_add_range(second, big, BIG_BYTES) == 0);
	memset(big, 0x5a, BIG_BYTES);
	must(tp_pmem_tx_free(second, tp_pmem_root_get(pool, "extent")) == 0);
	must(tp_pmem_tx_root_set(second, "extent", 0) == 0);
	must(tp_pmem_tx_commit(second, 0) == 0);
	must(tp_pmem_tx_alloc(first, 3000, TP_PMEM_ALLOC_ZERO, &block) == 0);	/* direct */
	must(tp_pmem_tx_alloc(first, 300000, TP_PMEM_ALLOC_RAW, &block) == 0);
	must(tp_pmem_tx_root_set(first, "new", block) == 0);
	must(tp_pmem_tx_commit(first, 0) == 0);
	tree_fill(pool, 0, 10);
}

static void
target_add(enum target_kind kind, uint64_t offset, uint64_t bytes, uint64_t arg)
{
	unsigned int *count = &fuzz.target_count[fuzz.which];

	must(*count < TARGETS_MAX);
	fuzz.targets[fuzz.which][(*count)++] = (struct target){ kind, offset, bytes, arg };
}

/* Records of the log that is in the media, and the extents they name. */
static void
targets_of_log(const struct tp_pmem_pool *pool)
{
	for (uint32_t lane = 0; lane < pool->lane_count; lane++) {
		const struct pmem_record *record;
		uint64_t position = 0, seq = rte_le_to_cpu_64(pool->state.watermark);

		while ((record = pmem_record_at(pool, lane, position, pool->epoch, seq)) != NULL) {
			uint64_t offset = (uint64_t)((const uint8_t *)record - pool->device->media);
			uint64_t bytes = rte_le_to_cpu_32(record->bytes);
			const uint8_t *at, *end;

			must(pmem_record_entries(pool, record, &at, &end) == 0);
			if (rte_le_to_cpu_32(record->flags) & PMEM_RECORD_EXTERNAL)
				target_add(TARGET_EXTENT, (uint64_t)(at - pool->device->media),
					(uint64_t)(end - at), offset + bytes - 8);
			target_add(TARGET_RECORD, offset, bytes, lane);
			seq = rte_le_to_cpu_64(record->seq);
			position += RTE_ALIGN_CEIL(bytes, (uint64_t)PMEM_RECORD_ALIGN);
		}
	}
}

static void
targets_of_heap(const struct tp_pmem_pool *pool)
{
	const struct heap_zone *zone = &pool->heap->zones[0];

	for (uint32_t i = 0; i < zone->chunk_count; i++) {
		target_add(TARGET_KIND, zone->offset + i * 8, 8, 0);
		target_add(TARGET_WEAR, zone->wear_offset + i * 8, 8, 0);
		target_add(TARGET_BITMAP, zone->bitmap_offset + (uint64_t)i * PMEM_BITMAP_BYTES,
			PMEM_BITMAP_WORDS * 8, 0);
	}
}

static void
targets_of_node(struct tp_pmem_pool *pool, uint64_t offset)
{
	const struct btree_node *node = tp_pmem_ptr(pool, offset);
	struct btree_item item;

	for (uint32_t i = 0; node->level > 0 && i <= node->count; i++)
		targets_of_node(pool, btree_node_child(node, i));
	for (uint32_t i = 0; node->level == 0 && i < node->count; i++) {
		struct btree_out out;

		must(btree_node_item(node, i, &item));
		if ((item.word & BTREE_WORD_OUT) == 0)
			continue;
		memcpy(&out, item.tail, sizeof(out));
		target_add(TARGET_VALUE, out.offset, out.bytes, offset + (uint64_t)(item.tail -
			(const uint8_t *)node) + offsetof(struct btree_out, crc));
	}
	target_add(TARGET_NODE, offset, BTREE_NODE_BYTES, 0);
}

static void
targets_find(struct tp_pmem_pool *pool)
{
	uint64_t tree = tp_pmem_root_get(pool, "tree");
	const struct btree_head *head = tp_pmem_ptr(pool, tree);

	target_add(TARGET_ANY, 0, POOL_BYTES, 0);
	target_add(TARGET_SUPER, PMEM_SUPER_OFFSET_0, 320, 0);
	target_add(TARGET_SUPER, PMEM_SUPER_OFFSET_1, 320, 0);
	for (unsigned int i = 0; i < PMEM_STATE_COPIES; i++)
		target_add(TARGET_STATE, pmem_state_offset(i), sizeof(struct pmem_state), 0);
	for (unsigned int i = 0; i < 6; i++)
		target_add(TARGET_ROOT, PMEM_ROOT_OFFSET + i * sizeof(struct pmem_root),
			sizeof(struct pmem_root), 0);
	targets_of_log(pool);
	targets_of_heap(pool);
	targets_of_node(pool, head->main.offset);
	target_add(TARGET_HEAD, tree, sizeof(*head), 0);
}

static void
image_keep(unsigned int which)
{
	fuzz.images[which] = malloc(POOL_BYTES);
	must(fuzz.images[which] != NULL);
	memcpy(fuzz.images[which], fuzz.writer.device.media, POOL_BYTES);
}

/* One crashed in the middle of its work, one closed after that. */
static void
images_make(void)
{
	const struct tp_pmem_pool_config config = { .lane_count = LANES, .lane_bytes = LANE_BYTES };
	struct tp_pmem_pool *pool;

	must(tp_pmem_pool_create_on(&fuzz.writer.device, &config, &pool) == 0);
	pool_fill(pool);
	must(tp_pmem_pool_checkpoint(pool) == 0);
	pool_crash(pool);
	fuzz.which = 0;
	targets_find(pool);
	image_keep(0);
	must(tp_pmem_pool_close(pool) == 0);
	madvise(fuzz.writer.device.view, POOL_BYTES, MADV_DONTNEED);
	must(tp_pmem_pool_open_on(&fuzz.writer.device, 0, &pool) == 0);
	fuzz.which = 1;
	targets_find(pool);
	must(tp_pmem_pool_close(pool) == 0);
	image_keep(1);
}

/* Bring the media back to an image. */
static void
image_restore(unsigned int which)
{
	struct memory *writer = &fuzz.writer;

	for (unsigned int i = 0; i < RTE_DIM(writer->touched); i++) {
		uint64_t pages = fuzz.image_now == fuzz.images[which] ? writer->touched[i] :
			UINT64_MAX;

		for (; pages != 0; pages &= pages - 1) {
			uint64_t at = (i * 64 + (uint64_t)__builtin_ctzll(pages)) * PMEM_PAGE_BYTES;

			memcpy(writer->device.media + at, fuzz.images[which] + at, PMEM_PAGE_BYTES);
		}
		writer->touched[i] = 0;
	}
	fuzz.image_now = fuzz.images[which];
	fuzz.which = which;
}

/*
 * Patches.
 */
static bool
record_seal(const struct target *target, const uint8_t *at, uint32_t *crc)
{
	const struct pmem_record *record = (const void *)at;
	uint64_t position = target->offset - PMEM_LOG_OFFSET - target->arg * LANE_BYTES;

	if (record->bytes < sizeof(*record) || record->bytes > LANE_BYTES - position)
		return false;
	*crc = pmem_record_crc(record, (uint32_t)target->arg, position);
	return true;
}

static void
seal(const struct target *target)
{
	uint8_t *at = fuzz.writer.device.media + target->offset;
	uint32_t crc;

	switch (target->kind) {
	case TARGET_ANY:
	case TARGET_WEAR:
		return;
	case TARGET_SUPER:
		pmem_super_seal((struct pmem_super *)(void *)at);
		return;
	case TARGET_STATE:
	case TARGET_ROOT:
		crc = tp_pmem_crc(0, at + 4, 124);
		break;
	case TARGET_EXTENT:
	case TARGET_VALUE:
		crc = tp_pmem_crc(0, at, target->bytes);
		at = fuzz.writer.device.media + target->arg;
		break;
	case TARGET_RECORD:
		if (!record_seal(target, at, &crc))
			return;
		break;
	case TARGET_KIND: {
		struct pmem_kind kind;
		uint64_t word;

		memcpy(&word, at, sizeof(word));
		pmem_kind_decode(word, 1, &kind);
		word = pmem_kind_word(kind);
		memcpy(at, &word, sizeof(word));
		return;
	}
	case TARGET_BITMAP:
		for (uint64_t i = 0; i < target->bytes; i += 8) {
			uint64_t word;

			memcpy(&word, at + i, sizeof(word));
			word = pmem_bitmap_word(word);
			memcpy(at + i, &word, sizeof(word));
		}
		return;
	case TARGET_NODE:
		btree_node_seal((struct btree_node *)(void *)at, target->offset);
		return;
	case TARGET_HEAD:
		crc = tp_pmem_crc((uint32_t)(target->offset / TP_PMEM_LINE_BYTES), at + 12, 52);
		at += 8;
		break;
	default:
		abort();
	}
	memcpy(at, &crc, sizeof(crc));
}

static const struct target *
target_of(uint8_t number)
{
	return &fuzz.targets[fuzz.which][number % fuzz.target_count[fuzz.which]];
}

static void
patch_apply(const struct patch *patch)
{
	const struct target *target = target_of(patch->target);
	uint64_t place = target->kind == TARGET_ANY ? (uint64_t)patch->at * 64 : patch->at;
	uint64_t offset = target->offset + place % target->bytes;
	uint64_t bytes = RTE_MIN(UINT64_C(1) << (patch->how >> 3 & 3), POOL_BYTES - offset);
	uint8_t *at = fuzz.writer.device.media + offset;
	uint64_t value = 0, old = 0;

	touch(&fuzz.writer.device, at, bytes);
	memcpy(&value, patch->value, sizeof(value));
	memcpy(&old, at, bytes);
	switch (patch->how & 3) {
	case HOW_XOR:
		value ^= old;
		break;
	case HOW_ADD:
		value += old;
		break;
	case HOW_TARGET:	/* where something else is; of an entry of the log only the offset */
		value = target_of((uint8_t)value)->offset + (value >> 8 & 0xff);
		value |= old & UINT64_MAX << PMEM_ENTRY_OFFSET_BITS;
		break;
	}
	memcpy(at, &value, bytes);
}

static void
patches_apply(const uint8_t *data, size_t size)
{
	bool seals[TARGETS_MAX] = { 0 };
	struct patch patch;

	for (; size >= sizeof(patch); data += sizeof(patch), size -= sizeof(patch)) {
		memcpy(&patch, data, sizeof(patch));
		patch_apply(&patch);
		seals[patch.target % fuzz.target_count[fuzz.which]] = (patch.how & HOW_UNSEALED) == 0;
	}
	for (unsigned int i = 0; i < fuzz.target_count[fuzz.which]; i++) {
		const struct target *target = &fuzz.targets[fuzz.which][i];

		if (!seals[i])
			continue;
		seal(target);
		touch(&fuzz.writer.device, fuzz.writer.device.media + target->offset,
			RTE_MIN(target->bytes, POOL_BYTES - target->offset));
		if (target->kind == TARGET_EXTENT || target->kind == TARGET_VALUE) {
			touch(&fuzz.writer.device, fuzz.writer.device.media + target->arg, 4);
			/* What holds its checksum comes later in the list. */
			for (unsigned int k = i; k < fuzz.target_count[fuzz.which]; k++)
				if (target[k - i].offset <= target->arg &&
						target->arg < target[k - i].offset + target[k - i].bytes)
					seals[k] = true;
		}
	}
}

/*
 * Use.
 */
static uint64_t
bytes_sum(const uint8_t *at, uint64_t bytes)
{
	uint64_t sum = 0;

	for (uint64_t i = 0; i < bytes; i += 64)
		sum += at[i];
	return bytes > 0 ? sum + at[bytes - 1] : sum;
}

static void
found(void *context, enum tp_pmem_check_verdict verdict, uint64_t offset, const char *text)
{
	unsigned int *count = context;

	must(offset < POOL_BYTES && text[0] != '\0');
	count[verdict]++;
}

static void
heap_walk(struct tp_pmem_pool *pool)
{
	struct tp_pmem_chunk_info chunk;
	struct tp_pmem_heap_info heap;
	uint64_t index = 0, offset = 0;
	volatile uint64_t sum = 0;

	tp_pmem_heap_info_get(pool, &heap);
	while (tp_pmem_chunk_info_next(pool, &index, &chunk))
		must(chunk.offset < POOL_BYTES && chunk.bytes <= POOL_BYTES - chunk.offset);
	for (unsigned int i = 0; i < STEPS_MAX; i++) {
		uint64_t last = offset;

		offset = tp_pmem_block_next(pool, offset);
		if (offset == 0)
			break;
		must(offset > last);
	}
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT; i++) {
		const char *name = tp_pmem_root_at(pool, i, &offset);
		uint64_t bytes = name == NULL ? 0 : tp_pmem_block_bytes(pool, offset);

		if (name != NULL)
			must(strlen(name) < TP_PMEM_NAME_BYTES);
		if (bytes > 0)
			sum += bytes_sum(tp_pmem_ptr(pool, offset), bytes);
	}
}

static void
tree_scan(struct tp_pmem_btree *tree, enum tp_pmem_btree_seek first, enum tp_pmem_btree_seek next)
{
	const void *key = NULL, *value = NULL;
	uint32_t key_bytes = 0, value_bytes = 0;
	struct tp_pmem_btree_cursor *cursor;
	volatile uint64_t sum = 0;
	int ret;

	must(tp_pmem_btree_cursor_open(tree, &cursor) == 0);
	ret = tp_pmem_btree_cursor_move(cursor, first, NULL, 0, &key, &key_bytes, &value,
		&value_bytes);
	for (unsigned int i = 0; ret == 0 && i < STEPS_MAX; i++) {
		must(key_bytes <= TP_PMEM_BTREE_KEY_MAX);
		sum += bytes_sum(key, key_bytes) + bytes_sum(value, value_bytes);
		ret = tp_pmem_btree_cursor_move(cursor, next, NULL, 0, &key, &key_bytes, &value,
			&value_bytes);
	}
	tp_pmem_btree_cursor_close(cursor);
}

static void
tree_change(struct tp_pmem_btree *tree)
{
	uint8_t value[1500] = { 0 };
	char key[16];

	for (uint32_t i = 0; i < 24; i++) {
		snprintf(key, sizeof(key), i % 3 == 0 ? "%u" : "key %06u", i * 31 % KEYS);
		if (i % 5 == 4)
			tp_pmem_btree_delete(tree, NULL, key, (uint32_t)strlen(key));
		else
			tp_pmem_btree_put(tree, NULL, key, (uint32_t)strlen(key), value,
				i * 60 % sizeof(value), 0);
	}
}

static void
tree_use(struct tp_pmem_pool *pool, bool change)
{
	unsigned int counts[3] = { 0 };
	struct tp_pmem_btree *tree;
	uint8_t value[64];
	char key[16];

	if (tp_pmem_btree_open(pool, tp_pmem_root_get(pool, "tree"), &tree) < 0)
		return;
	tp_pmem_btree_check(tree, found, counts);
	tree_scan(tree, TP_PMEM_BTREE_FIRST, TP_PMEM_BTREE_NEXT);
	tree_scan(tree, TP_PMEM_BTREE_LAST, TP_PMEM_BTREE_PREVIOUS);
	for (uint32_t i = 0; i < KEYS; i += 13) {
		snprintf(key, sizeof(key), "key %06u", i);
		must(tp_pmem_btree_get(tree, NULL, key, 10, value, sizeof(value)) <= UINT32_MAX);
	}
	if (change)
		tree_change(tree);
	tp_pmem_btree_close(tree);
}

static void
heap_change(struct tp_pmem_pool *pool)
{
	static const uint32_t sizes[] = { 64, 600, 4096, 70000, 300000, 20000 };
	uint64_t block, root;
	struct tp_pmem_tx *tx;

	for (unsigned int i = 0; i < RTE_DIM(sizes); i++) {
		tx = begin(pool);
		if (tp_pmem_tx_alloc(tx, sizes[i], 0, &block) == 0) {
			must(block % 64 == 0 && block < POOL_BYTES &&
				sizes[i] <= POOL_BYTES - block);
			memset(tp_pmem_ptr(pool, block), 1, sizes[i]);
			tp_pmem_tx_root_set(tx, "fuzz", block);
		}
		if (i % 3 == 2)
			tp_pmem_tx_abort(tx);
		else
			tp_pmem_tx_commit(tx, i % 2 == 0 ? TP_PMEM_COMMIT_DEFER : 0);
	}
	for (uint32_t i = 0; i < TP_PMEM_ROOT_COUNT; i++) {
		if (tp_pmem_root_at(pool, i, &root) == NULL)
			continue;
		tx = begin(pool);
		tp_pmem_tx_free(tx, root);
		if (tp_pmem_block_bytes(pool, root) > 0)
			tp_pmem_tx_add_range(tx, tp_pmem_ptr(pool, root), 64);
		tp_pmem_tx_commit(tx, 0);
	}
	tx = begin(pool);
	tp_pmem_btree_destroy(tx, tp_pmem_root_get(pool, "tree"));
	tp_pmem_tx_abort(tx);
}

static struct tp_pmem_device *
reader(uint64_t bytes)
{
	madvise(fuzz.reader.device.media, POOL_BYTES, MADV_DONTNEED);
	fuzz.reader.device.bytes = bytes;
	return &fuzz.reader.device;
}

static struct tp_pmem_device *
writer(uint64_t bytes)
{
	madvise(fuzz.writer.device.view, POOL_BYTES, MADV_DONTNEED);
	fuzz.writer.device.bytes = bytes;
	return &fuzz.writer.device;
}

static void
pool_try(uint64_t bytes)
{
	unsigned int before[3] = { 0 }, after[3] = { 0 };
	struct tp_pmem_pool *pool;
	int checked;

	if (tp_pmem_pool_open_on(reader(bytes), TP_PMEM_OPEN_READ_ONLY, &pool) == 0) {
		heap_walk(pool);
		tree_use(pool, false);
		must(tp_pmem_pool_close(pool) == 0);
	}
	checked = tp_pmem_pool_check_on(reader(bytes), false, found, before);
	must(checked < 0 || (unsigned int)checked == before[TP_PMEM_CHECK_REPAIRABLE] +
		before[TP_PMEM_CHECK_LOST]);
	if (tp_pmem_pool_open_on(writer(bytes), 0, &pool) == 0) {
		heap_walk(pool);
		tree_use(pool, true);
		heap_change(pool);
		heap_walk(pool);
		must(tp_pmem_pool_close(pool) == 0);
	}
	if (tp_pmem_pool_check_on(writer(bytes), true, found, before) < 0)
		return;
	/* What could be repaired is; what is lost stays so. */
	must(tp_pmem_pool_check_on(reader(bytes), false, found, after) >= 0);
	must(after[TP_PMEM_CHECK_REPAIRABLE] == 0);
	must(tp_pmem_pool_open_on(writer(bytes), 0, &pool) == 0);
	heap_walk(pool);
	tree_use(pool, true);
	must(tp_pmem_pool_close(pool) == 0);
}

static void
fuzz_init(void)
{
	if (fuzz.image_now != NULL)
		return;
	devices_make();
	images_make();
	image_restore(0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	fuzz_init();
	if (size == 0)
		return 0;
	image_restore(data[0] & FLAG_CLOSED);
	fuzz.writer.device.granularity = data[0] & FLAG_PAGES ? TP_PMEM_GRANULARITY_PAGE :
		TP_PMEM_GRANULARITY_CACHE_LINE;
	patches_apply(data + 1, size - 1);
	pool_try(data[0] & FLAG_SHORT ? (uint64_t)(data[0] >> 3) * (POOL_BYTES / 32) : POOL_BYTES);
	return 0;
}

/* A patch of a field, most often with a checksum that holds. */
static struct patch
patch_random(uint64_t random)
{
	static const int8_t steps[] = { 0, 1, -1, 8, -8, 64, -64, 127 };
	struct patch patch = {
		.target = (uint8_t)random,
		.how = (uint8_t)((random >> 8 & 0x1b) | ((random >> 16) % 8 == 0 ? HOW_UNSEALED : 0)),
		.at = (uint16_t)(random >> 20 & ((random >> 40) % 2 == 0 ? 0x3c : 0xffc)),
	};
	uint64_t value = (random >> 42) % 3 == 0 ? random * random :
		(uint64_t)(int64_t)steps[random >> 44 & 7] << ((random >> 48) % 4 == 0 ? 40 : 0);

	memcpy(patch.value, &value, sizeof(value));
	return patch;
}

size_t
LLVMFuzzerCustomMutator(uint8_t *data, size_t size, size_t size_max, unsigned int seed)
{
	uint64_t random = (seed + UINT64_C(1)) * UINT64_C(0x9e3779b97f4a7c15);
	struct patch patch;
	size_t count, at;

	random ^= random >> 29;
	if (size == 0 || size < 1 + sizeof(patch) || random % 4 == 0)
		return LLVMFuzzerMutate(data, size, size_max);
	random = random * UINT64_C(0xbf58476d1ce4e5b9) ^ random >> 31;
	count = (size - 1) / sizeof(patch);
	size = 1 + count * sizeof(patch);
	at = 1 + (random >> 33) % count * sizeof(patch);
	patch = patch_random(random * UINT64_C(0x94d049bb133111eb));
	if ((random >> 5) % 4 != 0 && size + sizeof(patch) <= size_max) {
		at = size;
		size += sizeof(patch);
	}
	memcpy(data + at, &patch, sizeof(patch));
	return size;
}
