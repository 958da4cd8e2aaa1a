/* SPDX-License-Identifier: BSD-3-Clause
 * Copyright (c) 2026 Telepage developers
 *
 * Logging through rte_log, which works with and without EAL. A library declares
 * its log type once, in one .c file, with TP_LOG_REGISTER(lib), and defines in
 * its private header
 *	TP_LOG_DECLARE(pool);
 *	#define TP_POOL_LOG(level, ...) TP_LOG(pool, level, __VA_ARGS__)
 * Messages are lower case, have no trailing newline, and are printed once,
 * where the error is first decided. Nothing above DEBUG on the datapath.
 */
#ifndef TP_LOG_H
#define TP_LOG_H

#include <rte_log.h>

#define TP_LOG_DECLARE(lib) extern int tp_##lib##_logtype
#define TP_LOG_REGISTER(lib) RTE_LOG_REGISTER(tp_##lib##_logtype, tp.lib, INFO)
#define TP_LOG(lib, level, fmt, ...) \
	rte_log(RTE_LOG_##level, tp_##lib##_logtype, "tp." #lib ": " fmt "\n", ##__VA_ARGS__)

#endif /* TP_LOG_H */
