/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * An endpoint carries messages of up to 64 KiB between this worker and the
 * workers of other nodes: exactly once within a session epoch, at most once
 * across epochs, in no particular order. One endpoint belongs to one worker
 * lcore. It reads no clock and takes no memory after tp_endpoint_create().
 *
 * A turn of the owner is
 *	tp_endpoint_rx_poll(ep, now);	frames in, ops->message() out
 *	tp_endpoint_timer_poll(ep, now);
 *	tp_endpoint_tx_flush(ep, now);	what was sent in this turn leaves
 *
 * docs/prog_guide/fabric.md is the guide, docs/protocol.md the wire format.
 */
#ifndef TP_ENDPOINT_H
#define TP_ENDPOINT_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>
#include <sys/uio.h>

#include "tp_link.h"
#include "tp_wire.h"

#ifdef __cplusplus
extern "C" {
#endif

#define TP_ENDPOINT_LINKS_MAX 8u
#define TP_ENDPOINT_WORKERS_MAX 64u
#define TP_ENDPOINT_PORT_DEFAULT 20560u
/* One largest message per class on the way out; one, and a frame, on the way in. */
#define TP_ENDPOINT_TX_FRAMES_MIN (TP_CLASS_COUNT * TP_WIRE_FRAGMENTS_MAX)
#define TP_ENDPOINT_RX_FRAMES_MIN (TP_WIRE_FRAGMENTS_MAX + 1)

struct tp_endpoint;

/** Why a peer went down. */
enum tp_peer_down_reason {
	TP_PEER_TIMEOUT = 0,	/* nothing was heard from it for peer_timeout_ns */
	TP_PEER_RESET = 1,	/* one of its workers dropped its session with us */
	TP_PEER_RESTARTED = 2,	/* it speaks with a newer incarnation */
	TP_PEER_REASON_COUNT
};

/** Piece of a message: where it lies in a received frame. */
struct tp_message_piece {
	const void *data;
	uint32_t length;
};

/**
 * A delivered message, valid during ops->message() only.
 */
struct tp_message {
	uint16_t src_node;
	uint8_t src_worker;
	uint8_t class;		/* enum tp_class */
	uint8_t priority;	/* enum tp_priority */
	uint8_t piece_count;	/* at least 1 */
	uint32_t length;
	uint64_t token;		/* for tp_endpoint_request_done() */
	const struct tp_message_piece *pieces;
};

#define TP_ENDPOINT_HINT_BYTES 64u

/**
 * What the endpoint tells its owner, always from within one of the calls below.
 * A callback may call tp_endpoint_send() and tp_endpoint_request_done() and the
 * getters, nothing else of this endpoint.
 */
struct tp_endpoint_ops {
	/** A message arrived. A request's credit is held until its token is done. */
	void (*message)(void *ctx, const struct tp_message *message);
	/** The peer answers: sends to it can succeed. */
	void (*peer_up)(void *ctx, uint16_t node, uint32_t incarnation);
	/**
	 * The peer is gone; said once until the next peer_up. Nothing sent to any
	 * of its workers before will be delivered any more, and nothing they sent
	 * before will be delivered here; what was delivered already is unknown.
	 */
	void (*peer_down)(void *ctx, uint16_t node, uint32_t incarnation,
		enum tp_peer_down_reason reason);
	/**
	 * A frame for another worker of this node. Takes the frame: hand it to that
	 * worker's tp_endpoint_rx_frame() or tp_frame_free() it. May be NULL: dropped.
	 */
	void (*steer)(void *ctx, uint8_t worker, struct tp_frame *frame);
	/**
	 * A MAC address was learned by ARP; tell the node's other endpoints with
	 * tp_endpoint_neighbour_set(). May be NULL.
	 */
	void (*neighbour)(void *ctx, uint8_t link_index, uint32_t ip, const uint8_t mac[6]);
	/**
	 * The first bytes of what may be a message, before anything of it was
	 * checked and perhaps of none: good for prefetches alone. length is at least
	 * TP_ENDPOINT_HINT_BYTES; not aligned. Said of a frame when it comes, and, of
	 * all but the first of a burst, again (next) when one more is to be handled
	 * before it. May be NULL.
	 */
	void (*hint)(void *ctx, const void *head, uint32_t length, bool next);
};

/** A link and the address of this node on it. */
struct tp_endpoint_link {
	struct tp_link *link;	/* stays the caller's; used by this endpoint alone */
	uint32_t ip;		/* host order */
	uint32_t gateway;	/* host order; 0: all peers are on the link */
	uint8_t prefix_length;	/* with a gateway: bits that say which peers are on the link */
};

/** What 0 means is said per field; the defaults suit an Ethernet cluster. */
struct tp_endpoint_config {
	uint16_t node;
	uint8_t worker;			/* this endpoint's index in its node */
	uint8_t link_count;		/* 1 to TP_ENDPOINT_LINKS_MAX */
	uint32_t incarnation;		/* of this node: not 0, larger after each restart */
	struct tp_endpoint_link links[TP_ENDPOINT_LINKS_MAX];
	uint16_t base_port;		/* UDP port of worker 0; 0: TP_ENDPOINT_PORT_DEFAULT */
	uint16_t worker_count;		/* workers of this node; 0: 1 */
	uint16_t peer_max;		/* peers; 0: 64 */
	uint32_t session_max;		/* (peer, worker) pairs in use; 0: 4 per peer */
	uint16_t request_credits;	/* requests a peer worker may have open here; 0: 32 */
	uint16_t forward_credits;	/* forwards a peer worker may have in flight; 0: 64 */
	/*
	 * Frames held until acknowledged, and held for reassembly; 0: 2048 and
	 * 1024; at least TP_ENDPOINT_TX_FRAMES_MIN and _RX_FRAMES_MIN. The links'
	 * buffers must suffice for both, plus descriptors, plus 64.
	 */
	uint32_t tx_frames;
	uint32_t rx_frames;
	uint32_t session_queue_frames;	/* frames of a class a session may queue; 0: 256 */
	uint64_t peer_timeout_ns;	/* 0: 150 ms */
	uint64_t heartbeat_ns;		/* ping a silent peer after; 0: a fifth of the timeout */
	uint64_t ack_delay_ns;		/* an ack waits for a ride at most; 0: 100 us */
	uint64_t rto_min_ns;		/* 0: 1 ms */
	uint64_t rto_max_ns;		/* 0: a quarter of the timeout */
	bool no_join;			/* no two messages in one packet */
	uint64_t seed;			/* spreads the first epoch and timers */
};

/*
 * Counters of an endpoint: name, help. Those named drop_ count frames that were
 * dropped, by reason; a frame is counted by one of them at most.
 */
#define TP_ENDPOINT_COUNTER_LIST(COUNTER)					\
	COUNTER(rx_frames,		"frames received")			\
	COUNTER(rx_bytes,		"bytes received, whole frames")		\
	COUNTER(tx_frames,		"frames sent")				\
	COUNTER(tx_bytes,		"bytes sent, whole frames")		\
	COUNTER(rx_messages,		"messages delivered")			\
	COUNTER(tx_messages,		"messages accepted for sending")	\
	COUNTER(tx_joined,		"of these, into a packet with others")	\
	COUNTER(rx_packets,		"valid packets of sessions")		\
	COUNTER(tx_data,		"data packets sent first time")		\
	COUNTER(tx_retransmits,		"data packets sent again")		\
	COUNTER(tx_fast_retransmits,	"packets found lost by selective acks")\
	COUNTER(tx_probes,		"of these, to probe for a lost tail")	\
	COUNTER(rto_expired,		"retransmission timeouts")		\
	COUNTER(window_cuts,		"congestion windows cut, by delay or loss")\
	COUNTER(tx_acks,		"bare acks sent")			\
	COUNTER(tx_pings,		"heartbeats and credit probes sent")	\
	COUNTER(tx_hellos,		"session handshakes sent")		\
	COUNTER(tx_resets,		"resets sent")				\
	COUNTER(tx_arp,			"arp packets sent")			\
	COUNTER(rx_arp,			"arp packets taken")			\
	COUNTER(steered,		"frames handed to another worker")	\
	COUNTER(rx_duplicates,		"data packets that had arrived before")	\
	COUNTER(sends_refused,		"sends refused for lack of room")	\
	COUNTER(peers_up,		"peers gone up")			\
	COUNTER(peers_down,		"peers gone down")			\
	COUNTER(sessions_reset,		"sessions dropped while established")	\
	COUNTER(gaps,			"times this worker did not run")	\
	COUNTER(drop_short,		"frame shorter than its headers")	\
	COUNTER(drop_ethertype,		"neither ipv4 nor arp")			\
	COUNTER(drop_mac,		"not for our mac address")		\
	COUNTER(drop_ipv4,		"bad ipv4 header, or an ip fragment")	\
	COUNTER(drop_ip_checksum,	"bad ipv4 checksum")			\
	COUNTER(drop_ip_address,	"not for our ip address")		\
	COUNTER(drop_protocol,		"not udp")				\
	COUNTER(drop_port,		"not one of our udp ports")		\
	COUNTER(drop_steer,		"for another worker, with no way there")\
	COUNTER(drop_udp_length,	"udp length wrong")			\
	COUNTER(drop_arp,		"arp malformed or not for us")		\
	COUNTER(drop_magic,		"not a telepage packet")		\
	COUNTER(drop_version,		"other protocol version")		\
	COUNTER(drop_type,		"unknown packet type")			\
	COUNTER(drop_length,		"packet length wrong for its type")	\
	COUNTER(drop_crc,		"crc wrong")				\
	COUNTER(drop_node,		"for another node or worker")		\
	COUNTER(drop_peer,		"from no peer of ours")			\
	COUNTER(drop_source,		"from an address not the peer's")	\
	COUNTER(drop_incarnation,	"stale or unknown incarnation")		\
	COUNTER(drop_epoch,		"stale session epoch")			\
	COUNTER(drop_hello,		"handshake with bad parameters")	\
	COUNTER(drop_ack,		"acks what was not sent")		\
	COUNTER(drop_credit,		"credits beyond what was granted")	\
	COUNTER(drop_window,		"sequence outside the window")		\
	COUNTER(drop_fragment,		"fragment or parts inconsistent")		\
	COUNTER(drop_no_session,	"no room for a session")		\
	COUNTER(drop_rx_budget,		"no room for reassembly, sender repeats")

enum tp_endpoint_counter {
#define TP_ENDPOINT_COUNTER_AS_ENUM(name, help) TP_ENDPOINT_COUNTER_##name,
	TP_ENDPOINT_COUNTER_LIST(TP_ENDPOINT_COUNTER_AS_ENUM)
#undef TP_ENDPOINT_COUNTER_AS_ENUM
	TP_ENDPOINT_COUNTER_COUNT
};

enum tp_peer_state {
	TP_PEER_CONNECTING = 0,	/* set, has not answered yet */
	TP_PEER_UP = 1,
	TP_PEER_DOWN = 2,
};

/** State of one session, for telemetry and tests. */
struct tp_session_info {
	uint16_t node;
	uint8_t worker;
	bool established;
	uint32_t local_epoch;
	uint32_t remote_epoch;
	uint32_t fragment_bytes;
	uint32_t outstanding;		/* packets sent and not acknowledged */
	uint32_t queued;		/* frames waiting for credit or window */
	uint32_t window_packets;	/* congestion window */
	uint32_t bulk_window_packets;	/* of these, for bulk */
	uint32_t request_credit;	/* requests we may still send */
	uint32_t forward_credit;
	uint64_t srtt_ns;
	uint64_t rtt_path_ns;		/* lowest round trip of the last seconds, 0: none yet */
	uint64_t rto_ns;
	uint64_t retransmits;
};

/**
 * Make an endpoint. All the memory it will ever use is taken here.
 *
 * @param config
 *   Read only; links must stay until tp_endpoint_destroy().
 * @param ops
 *   Copied; message, peer_up and peer_down must be set.
 * @param ctx
 *   First argument of the callbacks.
 * @return
 *   The endpoint, or NULL with rte_errno EINVAL (a field out of range) or ENOMEM.
 * @threads Any; then the endpoint belongs to one lcore.
 */
struct tp_endpoint *tp_endpoint_create(const struct tp_endpoint_config *config,
	const struct tp_endpoint_ops *ops, void *ctx);

/** Free an endpoint and every frame it holds; says nothing to peers. @threads Owner. */
void tp_endpoint_destroy(struct tp_endpoint *ep);

/**
 * Add a peer, or change it. The endpoint greets it until it answers (peer_up),
 * and says peer_down when it has not within peer_timeout_ns.
 *
 * A changed incarnation drops every session with the old one, without a
 * peer_down.
 *
 * @param node
 *   Its id, not this node's.
 * @param incarnation
 *   The one the membership knows; others are refused. 0: take the one it says,
 *   and newer ones later on.
 * @param ip
 *   Host order.
 * @param mac
 *   Static neighbour, or NULL: resolve by ARP.
 * @param link_index
 *   Index into config->links: where its frames go.
 * @param worker_count
 *   Workers of the peer, 1 to TP_ENDPOINT_WORKERS_MAX.
 * @return
 *   0; -EINVAL: an argument out of range; -ENOSPC: peer_max reached.
 * @threads Owner, not from a callback.
 */
int tp_endpoint_peer_set(struct tp_endpoint *ep, uint16_t node, uint32_t incarnation,
	uint32_t ip, const uint8_t mac[6], uint8_t link_index, uint8_t worker_count);

/**
 * Forget a peer and drop its sessions, without a peer_down.
 *
 * @return 0; -ENOENT: no such peer.
 * @threads Owner, not from a callback.
 */
int tp_endpoint_peer_remove(struct tp_endpoint *ep, uint16_t node);

/**
 * Act as if nothing had been heard from a peer for peer_timeout_ns: peer_down
 * now, peer_up when it answers the next greeting, and the sessions before end on its
 * side, too.
 *
 * @return 0; -ENOENT: no such peer.
 * @threads Owner, not from a callback.
 */
int tp_endpoint_peer_silence(struct tp_endpoint *ep, uint16_t node);

/**
 * Tell the MAC address that another endpoint of this node learned.
 *
 * @threads Owner, not from a callback.
 */
void tp_endpoint_neighbour_set(struct tp_endpoint *ep, uint8_t link_index, uint32_t ip,
	const uint8_t mac[6]);

/**
 * Send one message. The bytes are copied at once; it leaves with the next
 * tp_endpoint_tx_flush() that finds credit and window.
 *
 * @param class
 *   enum tp_class.
 * @param priority
 *   enum tp_priority.
 * @param iov
 *   Shape [iovcnt], gathered in order, TP_WIRE_MESSAGE_MAX bytes in all at most.
 * @return
 *   0, or nothing was taken:
 *   - -EAGAIN: the session is being opened, or has queued all it may; keep the
 *     message and try again after the next poll.
 *   - -ENOBUFS: no frames for this class now; likewise.
 *   - -EHOSTDOWN: the peer is down.
 *   - -ENOENT: no such peer.
 *   - -EMSGSIZE: too long.
 *   - -EINVAL: class, priority or worker out of range.
 * @threads Owner.
 * @cost    A copy of the message; no lock, no allocation outside the link's pool.
 */
int tp_endpoint_send(struct tp_endpoint *ep, uint16_t node, uint8_t worker,
	enum tp_class class, enum tp_priority priority,
	const struct iovec *iov, int iovcnt);

/**
 * Finish a request: its credit goes back to the sender, with the next packet.
 *
 * @param token
 *   Of the message, once; one of a past epoch, or of another class, is ignored.
 * @threads Owner.
 */
void tp_endpoint_request_done(struct tp_endpoint *ep, uint64_t token);

/**
 * Take one burst from each link and deliver what is complete.
 *
 * @param now
 *   Nanoseconds of a clock that never goes back; the same in all calls.
 * @return
 *   Frames taken.
 * @threads Owner, not from a callback.
 */
uint32_t tp_endpoint_rx_poll(struct tp_endpoint *ep, uint64_t now);

/**
 * Take one frame that another worker received for this one.
 *
 * @param frame
 *   Taken with its reference.
 * @threads Owner, not from a callback.
 */
void tp_endpoint_rx_frame(struct tp_endpoint *ep, struct tp_frame *frame, uint64_t now);

/**
 * Run what is due: retransmission, delayed acks, heartbeats, ARP, peer failure.
 *
 * @return Timers run.
 * @threads Owner, not from a callback.
 */
uint32_t tp_endpoint_timer_poll(struct tp_endpoint *ep, uint64_t now);

/**
 * Send what may leave now: acks that wait no longer, queued fragments,
 * retransmissions. What the links do not accept is offered again next time.
 *
 * @return Frames the links accepted.
 * @threads Owner, not from a callback.
 */
uint32_t tp_endpoint_tx_flush(struct tp_endpoint *ep, uint64_t now);

/**
 * Is nothing to be sent but acks that nobody asked for? They may ride along with what the
 * next turn sends, however late that is.
 *
 * @return false also while a frame waits that the link did not take.
 * @threads Owner.
 */
bool tp_endpoint_tx_is_acks(const struct tp_endpoint *ep);

/**
 * When tp_endpoint_timer_poll() must run next, at the latest. Who asks may rest until
 * then: the turn ends here, not with the next look at the clock.
 *
 * @return Nanoseconds, UINT64_MAX for never; the past if work waits.
 * @threads Owner.
 */
uint64_t tp_endpoint_next_timer(struct tp_endpoint *ep);

/** Is there anything that a tx_flush would send at once? @threads Owner. */
bool tp_endpoint_tx_pending(const struct tp_endpoint *ep);

/**
 * State of a peer.
 *
 * @param incarnation_out
 *   May be NULL; the peer's incarnation, 0 if not known yet.
 * @return enum tp_peer_state, or -ENOENT.
 * @threads Owner.
 */
int tp_endpoint_peer_state(const struct tp_endpoint *ep, uint16_t node,
	uint32_t *incarnation_out);

/** Counters, shape [TP_ENDPOINT_COUNTER_COUNT]; plain words, single writer. @threads Any. */
const uint64_t *tp_endpoint_counters(const struct tp_endpoint *ep);

/** Name of a counter, NULL past the end. @threads Any. */
const char *tp_endpoint_counter_name(unsigned int counter);

/** What a counter counts, NULL past the end. @threads Any. */
const char *tp_endpoint_counter_help(unsigned int counter);

/** Frames held: for retransmission and queued, and for reassembly. @threads Owner. */
void tp_endpoint_frames_held(const struct tp_endpoint *ep, uint32_t *tx_out, uint32_t *rx_out);

/**
 * Describe the sessions one by one.
 *
 * @param index
 *   From 0 up.
 * @return 0; -ENOENT: that index is free; -ERANGE: past the end.
 * @threads Owner.
 */
int tp_endpoint_session_info(const struct tp_endpoint *ep, uint32_t index,
	struct tp_session_info *info_out);

/* How far one session is, for who watches it. */
struct tp_session_progress {
	uint16_t node;
	uint32_t acked;			/* packets acknowledged, all before it, modulo 2^32 */
	uint32_t queued;		/* frames waiting for credit or window */
	uint32_t fragment_bytes;
	bool full;			/* half of the congestion window at least is in flight */
};

/**
 * The same for one that is looked at often.
 *
 * @return 0; -ENOENT: no session is established there; -ERANGE: past the end.
 * @threads Owner. @cost A cache miss or two.
 */
int tp_endpoint_session_progress(const struct tp_endpoint *ep, uint32_t index,
	struct tp_session_progress *progress_out);

/**
 * First bytes of a message as one piece of memory.
 *
 * @return Pointer to at least @p length bytes, NULL if the message is shorter;
 *   heads of up to 1384 bytes are always in one piece.
 * @threads Owner.
 */
static inline const void *
tp_message_head(const struct tp_message *message, uint32_t length)
{
	return message->pieces[0].length >= length ? message->pieces[0].data : NULL;
}

/**
 * Copy bytes of a message.
 *
 * @return Bytes copied: less than @p length where the message ends earlier.
 * @threads Owner.
 */
static inline uint32_t
tp_message_copy(const struct tp_message *message, uint32_t offset, void *dst, uint32_t length)
{
	uint32_t done = 0;
	uint32_t i;

	for (i = 0; i < message->piece_count && done < length; i++) {
		const struct tp_message_piece *piece = &message->pieces[i];
		uint32_t part;

		if (offset >= piece->length) {
			offset -= piece->length;
			continue;
		}
		part = piece->length - offset;
		if (part > length - done)
			part = length - done;
		memcpy((uint8_t *)dst + done, (const uint8_t *)piece->data + offset, part);
		done += part;
		offset = 0;
	}
	return done;
}

#ifdef __cplusplus
}
#endif

#endif /* TP_ENDPOINT_H */
