/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Inside lib/fabric. An endpoint and everything below it belongs to one lcore;
 * nothing here is shared between threads but the frames themselves.
 *
 *	endpoint.c	life, polls, gap rule, frames in
 *	packet.c	outer headers, CRC, validation of what came in
 *	neighbour.c	ARP
 *	peer.c		peers up and down, incarnations, heartbeats
 *	session.c	handshake, epochs, timers of a session
 *	session_send.c	messages into packets, queues
 *	session_tx.c	window, credits, retransmission, acks out
 *	session_ack.c	acks in, round trip times, loss
 *	congestion.c	how much may be in flight
 *	session_rx.c	sequence check, reassembly, delivery
 *	timer.c		one heap of deadlines
 *	endpoint_info.c	counters and getters
 */
#ifndef FABRIC_PRIV_H
#define FABRIC_PRIV_H

#include <assert.h>
#include <stdbool.h>
#include <stdint.h>

#include <rte_branch_prediction.h>
#include <rte_byteorder.h>
#include <rte_common.h>
#include <rte_debug.h>

#include "tp_endpoint.h"
#include "tp_wire.h"
#ifdef TP_MUTANTS
#include "tp_fabric_mutants.h"
#endif

#define FABRIC_NEVER UINT64_MAX
#define FABRIC_NONE UINT32_MAX
#define FABRIC_BURST 32u
#define FABRIC_OUT_MAX 64u
#define FABRIC_QUEUES (TP_CLASS_COUNT * TP_PRIORITY_COUNT)
#define FABRIC_QUEUES_ALL ((1u << FABRIC_QUEUES) - 1)
/* The last ones, see fabric_queue_of(). */
#define FABRIC_QUEUES_BULK (FABRIC_QUEUES_ALL & ~((1u << (FABRIC_QUEUES - TP_CLASS_COUNT)) - 1))
#define FABRIC_BULK_WINDOW (TP_WIRE_WINDOW - TP_WIRE_WINDOW / 4)	/* sequences bulk may span */
#define FABRIC_NODES 65536u
#define FABRIC_FRESH_MAX 64u
#define FABRIC_TURN_MAX_NS 100000u	/* a longer turn was interrupted */

#define FABRIC_CWND_FIRST 16u		/* packets; RFC 6928 allows 10, a cluster is shallower */
#define FABRIC_CWND_MIN 2u
#define FABRIC_ACK_EVERY 8u		/* packets that may wait for one ack */
#define FABRIC_SACKS_LOST 3u		/* later packets sacked before one counts as lost */
#define FABRIC_JOIN_CREDITS 4u		/* a packet takes this part of the credits at most */
#define FABRIC_JOIN_BULK_WINDOW 4u	/* packets; on a link that takes fewer, bulk stays fine-grained */
#define FABRIC_REORDER_MIN_NS 10000u	/* what a packet may be late at least */
#define FABRIC_RTO_FIRST_NS 5000000u	/* before the first sample */
#define FABRIC_HELLO_FIRST_NS 2000000u	/* then doubled up to the heartbeat */
#define FABRIC_HELLO_DOUBT_NS 16000000u	/* interval at which the address is in doubt */
#define FABRIC_ARP_NS 10000000u
#define FABRIC_RTO_ARP 3u		/* timeouts in a row before the address is in doubt */

/** Timers: one heap per endpoint, embedded in sessions and peers. */
enum fabric_timer_kind {
	FABRIC_TIMER_SESSION,
	FABRIC_TIMER_PEER,
};

struct fabric_timer {
	uint64_t deadline;	/* when to run, FABRIC_NEVER if not at all */
	uint64_t armed;		/* key in the heap: at or before deadline */
	uint32_t slot;		/* place in the heap + 1, 0 if not in it */
	uint32_t kind;		/* enum fabric_timer_kind */
};

/** A data packet from tp_endpoint_send() to its acknowledgement. */
struct fabric_packet {
	struct tp_frame frame;
	uint64_t sent_ns;
	uint32_t next;		/* of its message, its queue or the free list */
	uint16_t messages;	/* whole ones in it; 0: a fragment of one */
	uint8_t class;
	bool last;		/* ends its message */
	bool sacked;		/* frame already given back */
	bool lost;		/* to be sent again */
	bool sent;
	bool again;		/* sent more than once */
	bool bulk;
};

struct fabric_queue {
	uint32_t head;
	uint32_t tail;
};

/** A message of several fragments on its way in. */
struct fabric_reassembly {
	uint32_t next;		/* of its session, or the free list */
	uint32_t message_id;
	uint32_t first_sequence;
	uint32_t length;
	uint8_t class;
	uint8_t priority;
	uint8_t have;		/* fragments */
	uint8_t need;
	uint8_t reserved_frames;	/* of have: taken from the reserve */
	uint64_t seen;		/* bit per fragment */
	struct tp_frame frames[TP_WIRE_FRAGMENTS_MAX];
};

enum fabric_session_state {
	FABRIC_SESSION_CLOSED = 0,
	FABRIC_SESSION_CONNECTING,	/* sends HELLO until its own epoch comes back */
	FABRIC_SESSION_ESTABLISHED,
};

/** A congestion window in packets, congestion.c. */
struct fabric_swift {
	uint32_t window;
	uint32_t acked;		/* packets acknowledged towards the next increase */
	uint64_t cut_at;
	bool seen;		/* it has seen a queue: no doubling any more */
};

/* Which windows keep packets back. */
#define FABRIC_LIMITED_ALL 1u
#define FABRIC_LIMITED_BULK 2u

/** What the loss timer is for. */
enum fabric_loss_timer {
	FABRIC_LOSS_PROBE = 0,	/* a tail of packets may be lost: send the last one again */
	FABRIC_LOSS_RTO,	/* nothing came back: everything is lost */
	FABRIC_LOSS_REORDER,	/* a packet that others overtook is too late now */
};

/** What stands before the payload, as far as it does not change per packet. */
struct fabric_template {
	uint8_t outer[TP_WIRE_OUTER_BYTES];
	struct tp_wire_header header;
} TP_WIRE_PACKED;

struct fabric_session {
	struct fabric_timer timer;	/* first: a timer is cast back to its session */
	uint32_t index;
	uint32_t peer_index;
	uint8_t worker;			/* of the peer */
	uint8_t state;			/* enum fabric_session_state */
	bool ready;			/* in the endpoint's ready list */
	bool ack_now;
	bool ack_asked;			/* the peer waits for it: it must not be put off */
	bool ping_now;
	bool hello_ack_now;
	bool hello_now;
	bool probe_now;			/* one lost packet may leave whatever the window says */
	uint8_t loss_timer;		/* enum fabric_loss_timer */
	uint8_t limited;		/* FABRIC_LIMITED_*, at the last flush */
	uint32_t ready_next;

	uint32_t local_epoch;
	uint32_t remote_epoch;		/* 0: not known; tentative while CONNECTING */
	uint32_t closed_epoch;		/* newest remote epoch that is over */
	uint32_t fragment_bytes;
	uint32_t ip_sum;		/* ones' complement sum of the header without length */

	/* out */
	uint32_t send_first;		/* oldest sequence not acknowledged */
	uint32_t send_next;
	uint32_t sacked_count;
	uint32_t lost_count;
	uint32_t bulk_burst;		/* bulk packets that may still begin in this flush */
	uint32_t bulk_unasked;		/* bulk packets since one asked for an ack */
	uint32_t bulk_in_flight;	/* of what is neither acknowledged nor lost */
	struct fabric_swift cwnd;
	struct fabric_swift bulk_cwnd;
	uint32_t loss_first;		/* sequence from which loss_count counts */
	uint32_t loss_count;
	uint32_t rto_count;		/* timeouts since something arrived */
	uint32_t message_id;
	uint32_t credit_granted[2];	/* by the peer, per class */
	uint32_t credit_used[2];
	uint32_t credit_returned[2];
	uint32_t queued[2][TP_CLASS_COUNT];	/* frames, [bulk] and per class */
	uint32_t queue_mask;		/* bit per queue that is not empty */
	uint32_t queue_current;		/* queue whose message is half sent, or FABRIC_NONE */
	struct fabric_queue queues[FABRIC_QUEUES];	/* most urgent first */
	unsigned __int128 sacked_bits;	/* bit i: send_first + 1 + i is sacked */
	uint64_t delivered_ns;		/* when the last packet to arrive was sent, of those sent once */
	uint32_t window[TP_WIRE_WINDOW];	/* sequence modulo size -> packet */

	/* in */
	uint32_t receive_next;
	unsigned __int128 receive_bits;	/* bit i: receive_next + 1 + i has arrived */
	uint32_t ack_waiting;		/* packets not acknowledged yet */
	bool echo_due;
	bool fresh;			/* in ep->fresh */
	bool echo_fresh;		/* echo came in this turn */
	uint32_t echo;			/* timestamp to echo, less our clock when it came */
	uint32_t delivered[TP_CLASS_COUNT];	/* messages */
	uint32_t requests_done;
	uint32_t reassembly;		/* first, or FABRIC_NONE */

	/* time */
	uint64_t srtt_ns;		/* 0: no sample yet */
	uint64_t rttvar_ns;
	uint64_t rto_ns;
	uint64_t pto_ns;		/* until a probe */
	uint64_t rtt_fresh;		/* lowest of this turn, 0: none */
	uint64_t rtt_low[2];		/* lowest of this span of time and the one before */
	uint64_t rtt_low_until;		/* end of this span, 0: none yet */
	uint64_t hello_ns;		/* interval now */
	uint64_t loss_at;		/* loss_timer is due */
	uint64_t ack_at;
	uint64_t hello_at;
	uint64_t probe_at;		/* ask for credits again */
	uint64_t probe_ns;
	uint64_t alive_ns;		/* heard, or began to wait */
	uint64_t retransmits;

	struct fabric_template template;
};

struct fabric_peer {
	struct fabric_timer timer;	/* first: a timer is cast back to its peer */
	bool used;
	bool learn;			/* incarnation is taken from the peer */
	bool mac_known;
	bool mac_static;
	uint8_t state;			/* enum tp_peer_state */
	uint8_t link_index;
	uint8_t worker_count;
	uint16_t node;
	uint8_t mac[6];
	uint32_t index;
	uint32_t incarnation;
	uint32_t ip;
	uint32_t next_hop;
	uint64_t last_heard;
	uint64_t ping_at;
	uint64_t arp_at;
	uint64_t arp_asked;
};

struct fabric_link {
	struct tp_link *link;
	uint32_t ip;
	uint32_t gateway;
	uint32_t netmask;
	uint32_t out_count;
	struct tp_frame out[FABRIC_OUT_MAX];	/* offered to the link, in order */
};

struct tp_endpoint {
	struct tp_endpoint_config config;	/* with the defaults filled in */
	struct tp_endpoint_ops ops;
	void *ctx;
	uint64_t now;
	uint64_t gap_min_ns;		/* more than this between two looks at the clock is a gap */
	uint64_t gap_end;		/* round trips begun before are no samples */
	bool clock_started;
	bool announced;
	bool flush_soon;		/* within a burst: a sender waits for an ack */
	uint32_t fresh_count;
	uint32_t fresh[FABRIC_FRESH_MAX];	/* sessions that something with a time came for */
	uint32_t epoch;			/* last one given out */

	struct fabric_link links[TP_ENDPOINT_LINKS_MAX];

	struct fabric_peer *peers;	/* [peer_max] */
	uint32_t peer_count;
	uint16_t *peer_of_node;		/* [FABRIC_NODES], index + 1 */
	uint32_t *session_of;		/* [peer_max][WORKERS_MAX], index + 1 */

	struct fabric_session *sessions;	/* [session_max] */
	uint32_t *session_free;		/* stack of indexes */
	uint32_t session_free_count;
	uint32_t ready_head;
	uint32_t ready_tail;

	struct fabric_packet *packets;	/* [tx_frames] */
	uint32_t packet_free;		/* list */
	uint32_t packet_free_count;
	uint32_t class_reserve;		/* frames kept for each class above */
	uint32_t bulk_reserve;		/* frames that bulk leaves to the rest of its class */

	struct fabric_reassembly *reassemblies;	/* [rx_frames] */
	uint32_t reassembly_free;
	uint32_t rx_held;		/* without the reserved ones */
	uint32_t rx_ordinary_max;
	uint32_t rx_reserved_held;
	uint32_t privileged;		/* session that may use the reserve, or FABRIC_NONE */

	struct fabric_timer **heap;
	uint32_t heap_count;

	uint64_t counters[TP_ENDPOINT_COUNTER_COUNT];
#ifdef TP_MUTANTS
	enum tp_fabric_mutant mutant;
#endif
};

#ifdef TP_MUTANTS
#define FABRIC_MUTANT(ep, name) ((ep)->mutant == TP_FABRIC_MUTANT_##name)
#else
#define FABRIC_MUTANT(ep, name) ((void)(ep), false)
#endif

#define FABRIC_COUNT(ep, name) ((ep)->counters[TP_ENDPOINT_COUNTER_##name]++)
#define FABRIC_ADD(ep, name, n) ((ep)->counters[TP_ENDPOINT_COUNTER_##name] += (n))

/** Serial number comparison: a is before b. */
static inline bool
fabric_before(uint32_t a, uint32_t b)
{
	return (int32_t)(a - b) < 0;
}

static inline uint32_t
fabric_timestamp(uint64_t now)
{
	uint32_t stamp = (uint32_t)(now >> 6);

	return stamp == 0 ? 1 : stamp;
}

/** Queue of a class and priority: bit 0 of the mask is the most urgent. */
static inline uint32_t
fabric_queue_of(unsigned int class, unsigned int priority)
{
	return (TP_PRIORITY_COUNT - 1 - priority) * TP_CLASS_COUNT + (TP_CLASS_COUNT - 1 - class);
}

/** What came for it in this turn is looked at again at the turn's end; false: it cannot be. */
static inline bool
fabric_session_fresh(struct tp_endpoint *ep, struct fabric_session *s)
{
	if (s->fresh)
		return true;
	if (ep->fresh_count == FABRIC_FRESH_MAX)
		return false;
	s->fresh = true;
	ep->fresh[ep->fresh_count++] = s->index;
	return true;
}

static inline uint32_t
fabric_session_outstanding(const struct fabric_session *s)
{
	return s->send_next - s->send_first;
}

/** Credits that a packet may take: few, so that it leaves as soon as some come back. */
static inline uint32_t
fabric_join_max(const struct fabric_session *s, unsigned int class)
{
	return class == TP_CLASS_RESPONSE ? UINT16_MAX :
		RTE_MAX(s->credit_granted[class] / FABRIC_JOIN_CREDITS, 1u);
}

static inline struct fabric_peer *
fabric_session_peer(struct tp_endpoint *ep, const struct fabric_session *s)
{
	return &ep->peers[s->peer_index];
}

/* timer.c */
void fabric_timer_set(struct tp_endpoint *ep, struct fabric_timer *timer, uint64_t deadline);
void fabric_timer_cancel(struct tp_endpoint *ep, struct fabric_timer *timer);
struct fabric_timer *fabric_timer_pop(struct tp_endpoint *ep, uint64_t now);

/* packet.c */
uint32_t fabric_crc(const void *packet, uint32_t length);
void fabric_template_build(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_packet_finish(struct tp_endpoint *ep, struct fabric_session *s,
	struct tp_frame *frame, enum tp_wire_type type, uint32_t sequence, uint32_t length);
const struct tp_wire_header *fabric_packet_check(struct tp_endpoint *ep, struct fabric_link *link,
	struct tp_frame *frame, uint8_t *worker_out);
uint16_t fabric_ip_checksum(const void *header);

/* neighbour.c */
void fabric_arp_rx(struct tp_endpoint *ep, uint8_t link_index, const struct tp_frame *frame);
void fabric_arp_ask(struct tp_endpoint *ep, struct fabric_peer *peer);
void fabric_arp_announce(struct tp_endpoint *ep);
void fabric_neighbour_learn(struct tp_endpoint *ep, uint8_t link_index, uint32_t ip,
	const uint8_t *mac);

/* peer.c */
struct fabric_peer *fabric_peer_lookup(const struct tp_endpoint *ep, uint16_t node);
bool fabric_peer_admit(struct tp_endpoint *ep, struct fabric_peer *peer,
	const struct tp_wire_header *header, struct fabric_link *link);
void fabric_peer_up(struct tp_endpoint *ep, struct fabric_peer *peer);
void fabric_peer_down(struct tp_endpoint *ep, struct fabric_peer *peer,
	enum tp_peer_down_reason reason);
void fabric_peer_mac_doubt(struct tp_endpoint *ep, struct fabric_peer *peer);
void fabric_peer_timer(struct tp_endpoint *ep, struct fabric_peer *peer);
void fabric_peer_rearm(struct tp_endpoint *ep, struct fabric_peer *peer);

/* session.c */
struct fabric_session *fabric_session_find(const struct tp_endpoint *ep,
	const struct fabric_peer *peer, uint8_t worker);
struct fabric_session *fabric_session_get(struct tp_endpoint *ep, struct fabric_peer *peer,
	uint8_t worker);
void fabric_session_put(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_open(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_drop(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_ready(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_rearm(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_timer(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_hello_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_hello *hello);
void fabric_session_reset_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header);
bool fabric_session_admit(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header);

/* session_tx.c */
bool fabric_link_has_room(struct tp_endpoint *ep, struct fabric_link *link);
void fabric_link_push(struct tp_endpoint *ep, struct fabric_link *link, struct tp_frame *frame);
uint32_t fabric_link_flush(struct tp_endpoint *ep, struct fabric_link *link);
bool fabric_session_transmit(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_session_tx_clear(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_reset_send(struct tp_endpoint *ep, struct fabric_peer *peer,
	const struct tp_wire_header *offender);
void fabric_packet_put(struct tp_endpoint *ep, uint32_t index);

/* session_ack.c */
bool fabric_ack_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_header *header);
void fabric_loss_timer_expired(struct tp_endpoint *ep, struct fabric_session *s);

/* congestion.c */
void fabric_congestion_init(struct fabric_session *s);
uint64_t fabric_congestion_path(const struct fabric_session *s);
void fabric_congestion_low(struct tp_endpoint *ep, struct fabric_session *s, uint64_t rtt);
void fabric_congestion_acked(struct tp_endpoint *ep, struct fabric_session *s, uint32_t acked,
	uint64_t rtt);
void fabric_congestion_lost(struct tp_endpoint *ep, struct fabric_session *s);
void fabric_congestion_timeout(struct tp_endpoint *ep, struct fabric_session *s, bool again);

/* session_rx.c */
bool fabric_data_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_data *data, struct tp_frame *frame);
bool fabric_many_rx(struct tp_endpoint *ep, struct fabric_session *s,
	const struct tp_wire_many *many);
void fabric_session_rx_clear(struct tp_endpoint *ep, struct fabric_session *s);

#endif /* FABRIC_PRIV_H */
