/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Control calls that inject faults. Any thread.
 */
#include <errno.h>
#include <string.h>

#include "heir.h"
#include "tp_inject.h"

int
tp_inject(struct tp_client *client, const struct tp_inject_spec *spec)
{
	struct tp_control_request request = {
		.op = TP_CONTROL_INJECT,
		.inject = {
			.kind = spec->kind,
			.flags = spec->one_way ? TP_CONTROL_INJECT_ONE_WAY : 0,
			.rate_ppm = spec->rate_ppm,
			.node_count = spec->peer_count,
			.delay_ns = spec->delay_ns,
			.count = spec->after,
		},
	};
	struct tp_control_response response;

	if (spec->peer_count > TP_REGION_NODES_MAX ||
	    (spec->peer_count != 0 && spec->peers == NULL) ||
	    (spec->region != NULL && strlen(spec->region) >= sizeof(request.inject.region)))
		return -EINVAL;
	if (spec->peer_count != 0)
		memcpy(request.inject.nodes, spec->peers,
		       spec->peer_count * sizeof(spec->peers[0]));
	if (spec->region != NULL)
		strcpy(request.inject.region, spec->region);
	return client_control(client_live(client), &request, &response, NULL, 0);
}

int
tp_inject_clear(struct tp_client *client)
{
	struct tp_control_request request = { .op = TP_CONTROL_INJECT_CLEAR };
	struct tp_control_response response;

	return client_control(client_live(client), &request, &response, NULL, 0);
}

int
tp_inject_get(struct tp_client *client, uint32_t index, struct tp_control_inject *inject)
{
	struct tp_control_request request = { .op = TP_CONTROL_INJECT_LIST, .value = index };
	struct tp_control_response response;
	int ret = client_control(client_live(client), &request, &response, NULL, 0);

	if (ret < 0)
		return ret;
	if (memchr(response.inject.region, '\0', sizeof(response.inject.region)) == NULL ||
	    response.inject.node_count > TP_REGION_NODES_MAX)
		return -EPROTO;
	*inject = response.inject;
	return 0;
}

const char *
tp_inject_kind_name(unsigned int kind)
{
	static const char *const names[] = {
#define INJECT_NAME(name, id, text) [TP_INJECT_##name] = text,
		TP_INJECT_LIST(INJECT_NAME)
#undef INJECT_NAME
	};

	return kind < RTE_DIM(names) && names[kind] != NULL ? names[kind] : "unknown";
}
