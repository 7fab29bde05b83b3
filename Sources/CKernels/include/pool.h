// The threads that kernels run on.
#pragma once
#include <stdint.h>

typedef struct sw_pool sw_pool;

// Processors that this process may run on.
int sw_available_processors(void);

// A pool of `threads` threads, the caller's own among them. NULL when the system grants none.
sw_pool *sw_pool_create(int threads);
void sw_pool_destroy(sw_pool *pool);
int sw_pool_threads(const sw_pool *pool);

// Calls task(context, index, thread) for index 0 ..< count, each once, on any thread (0 ..< threads, the
// caller's is 0), and returns when all have ended. One caller at a time; tasks do not call it.
typedef void (*sw_task)(void *context, int64_t index, int thread);
void sw_pool_run(sw_pool *pool, int64_t count, sw_task task, void *context);
