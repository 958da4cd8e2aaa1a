/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * The rows of the two tables, and the actions they name.
 */
#ifndef TABLE_PRIV_H
#define TABLE_PRIV_H

#include "coherence_priv.h"

struct coherence_cache_rule {
	enum coherence_way (*action)(struct coherence_event *ev);	/* NULL: unexpected */
	const char *name;
	uint8_t next;
	uint8_t other;
};

struct coherence_home_rule {
	enum coherence_way (*action)(struct coherence_event *ev);	/* NULL: unexpected */
	const char *name;
	uint8_t next;
	uint8_t other;
};

const struct coherence_cache_rule *coherence_cache_rule_get(unsigned int state,
	unsigned int event);
const struct coherence_home_rule *coherence_home_rule_get(unsigned int state, unsigned int event);

/* Actions: home_action.c, home_atomic.c, cache_action.c. */
enum coherence_way home_action(struct coherence_event *ev);
enum coherence_way home_amo(struct coherence_event *ev);
enum coherence_way home_amo_shared(struct coherence_event *ev);
enum coherence_way home_defer(struct coherence_event *ev);
enum coherence_way home_delivered(struct coherence_event *ev);
enum coherence_way home_fenced_fwd_m(struct coherence_event *ev);
enum coherence_way home_fenced_fwd_s(struct coherence_event *ev);
enum coherence_way home_fenced_lost_inv(struct coherence_event *ev);
enum coherence_way home_lost_ack(struct coherence_event *ev);
enum coherence_way home_fenced_inv(struct coherence_event *ev);
enum coherence_way home_fenced_lost(struct coherence_event *ev);
enum coherence_way home_fenced_owned(struct coherence_event *ev);
enum coherence_way home_fenced_recall(struct coherence_event *ev);
enum coherence_way home_fenced_shared(struct coherence_event *ev);
enum coherence_way home_fenced_unb_m(struct coherence_event *ev);
enum coherence_way home_fenced_unb_s(struct coherence_event *ev);
enum coherence_way home_get_m(struct coherence_event *ev);
enum coherence_way home_get_m_shared(struct coherence_event *ev);
enum coherence_way home_get_owned(struct coherence_event *ev);
enum coherence_way home_get_s(struct coherence_event *ev);
enum coherence_way home_ignore(struct coherence_event *ev);
enum coherence_way home_inv_ack(struct coherence_event *ev);
enum coherence_way home_persist(struct coherence_event *ev);
enum coherence_way home_persist_owned(struct coherence_event *ev);
enum coherence_way home_put_ack(struct coherence_event *ev);
enum coherence_way home_put_owned(struct coherence_event *ev);
enum coherence_way home_put_s_early(struct coherence_event *ev);
enum coherence_way home_put_s_unblock(struct coherence_event *ev);
enum coherence_way home_put_shared(struct coherence_event *ev);
enum coherence_way home_put_unblock(struct coherence_event *ev);
enum coherence_way home_recall(struct coherence_event *ev);
enum coherence_way home_refuse_lost(struct coherence_event *ev);
enum coherence_way home_revive(struct coherence_event *ev);
enum coherence_way home_settle(struct coherence_event *ev);
enum coherence_way home_stale(struct coherence_event *ev);
enum coherence_way home_stale_wb(struct coherence_event *ev);
enum coherence_way home_unblock(struct coherence_event *ev);
enum coherence_way home_unblock_early(struct coherence_event *ev);
enum coherence_way home_wb_none(struct coherence_event *ev);
enum coherence_way home_wb_owned(struct coherence_event *ev);
enum coherence_way home_wb_recalled(struct coherence_event *ev);
enum coherence_way home_wb_shared(struct coherence_event *ev);
void home_refuse_spent(struct coherence_event *ev);
void home_repeated(struct coherence_event *ev);
enum coherence_way cache_ack(struct coherence_event *ev);
enum coherence_way cache_action(struct coherence_event *ev);
enum coherence_way cache_defer(struct coherence_event *ev);
enum coherence_way cache_dropped(struct coherence_event *ev);
enum coherence_way cache_evict(struct coherence_event *ev);
enum coherence_way cache_forward(struct coherence_event *ev);
enum coherence_way cache_forward_put(struct coherence_event *ev);
enum coherence_way cache_get_m(struct coherence_event *ev);
enum coherence_way cache_get_s(struct coherence_event *ev);
enum coherence_way cache_grant(struct coherence_event *ev);
enum coherence_way cache_grant_then_fwd(struct coherence_event *ev);
enum coherence_way cache_grant_without_copy(struct coherence_event *ev);
enum coherence_way cache_hold_fwd(struct coherence_event *ev);
enum coherence_way cache_hold_inv(struct coherence_event *ev);
enum coherence_way cache_ignore(struct coherence_event *ev);
enum coherence_way cache_install_m(struct coherence_event *ev);
enum coherence_way cache_install_s(struct coherence_event *ev);
enum coherence_way cache_install_then_fwd(struct coherence_event *ev);
enum coherence_way cache_install_then_inv(struct coherence_event *ev);
enum coherence_way cache_invalidated(struct coherence_event *ev);
enum coherence_way cache_invalidated_upgrade(struct coherence_event *ev);
enum coherence_way cache_lose(struct coherence_event *ev);
enum coherence_way cache_lose_revoke(struct coherence_event *ev);
enum coherence_way cache_lost(struct coherence_event *ev);
enum coherence_way cache_put_done(struct coherence_event *ev);
enum coherence_way cache_put_m(struct coherence_event *ev);
enum coherence_way cache_put_refused(struct coherence_event *ev);
enum coherence_way cache_put_s(struct coherence_event *ev);
enum coherence_way cache_refused(struct coherence_event *ev);
enum coherence_way cache_revoke_fwd(struct coherence_event *ev);
enum coherence_way cache_revoke_inv(struct coherence_event *ev);
enum coherence_way cache_stale(struct coherence_event *ev);
enum coherence_way cache_upgrade(struct coherence_event *ev);
enum coherence_way cache_wb_done(struct coherence_event *ev);
bool cache_repeated(struct coherence_event *ev);

#endif /* TABLE_PRIV_H */
