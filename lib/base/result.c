/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Names and errno values of the reasons in tp_result.h.
 */
#include <errno.h>

#include "tp_result.h"

const char *
tp_reason_name(unsigned int reason)
{
	static const char * const names[TP_REASON_COUNT] = {
#define AS_NAME(name, id, text) [id] = (text),
		TP_REASON_LIST(AS_NAME)
#undef AS_NAME
	};

	return reason < TP_REASON_COUNT ? names[reason] : "unknown reason";
}

int
tp_reason_errno(unsigned int reason)
{
	static const int errnos[TP_REASON_COUNT] = {
		[TP_OK] = 0,
		[TP_TIMEOUT] = ETIMEDOUT,
		[TP_UNREACHABLE] = EHOSTUNREACH,
		[TP_PARTITION] = ENETUNREACH,
		[TP_NODE_CRASHED] = ECONNRESET,
		[TP_PERMISSION] = EACCES,
		[TP_GENERATION] = ESTALE,
		[TP_CORRUPTION] = EBADMSG,
		[TP_INVALID] = EINVAL,
		[TP_EXHAUSTED] = ENOSPC,
	};

	return reason < TP_REASON_COUNT ? errnos[reason] : EINVAL;
}
