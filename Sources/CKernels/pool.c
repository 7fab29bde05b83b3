#include "include/pool.h"
#include <pthread.h>
#include <sched.h>
#include <stdalign.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>

// Ops follow one another within microseconds, so a thread that finds nothing to do looks this often before it
// goes to sleep.
enum { SPINS = 4000 };

// The tasks [next, end) that are one thread's own, until it is done with them and helps others.
typedef struct {
  alignas(64) _Atomic int64_t next;
  int64_t end;
} stretch;

struct sw_pool {
  int threads;
  pthread_t *handles;
  pthread_mutex_t mutex;
  pthread_cond_t work;
  // The current job; written while the gate is closed.
  sw_task task;
  void *context;
  stretch *stretches; // of each thread
  // Who takes part in the job: bit 0, whether workers may still join; bits 1 to 15, how many have; above, the
  // job's number. A worker that wakes too late finds the gate closed: nobody waits for it.
  _Atomic uint64_t gate;
  _Atomic int finished; // workers that joined and are done
  _Atomic int sleeping;
  _Atomic int stopping;
};

enum : uint64_t { GATE_OPEN = 1, GATE_ONE = 2, GATE_JOINED = 0xFFFE, GATE_JOB = 0x10000 };

typedef struct {
  sw_pool *pool;
  int thread;
} worker_argument;

static void relax(void) {
#if defined(__x86_64__)
  __builtin_ia32_pause();
#elif defined(__aarch64__)
  __asm__ volatile("yield");
#endif
}

static void take_tasks(sw_pool *pool, int thread) {
  for (int i = 0; i < pool->threads; i++) {
    stretch *s = &pool->stretches[(thread + i) % pool->threads];
    while (atomic_load(&s->next) < s->end) {
      const int64_t task = atomic_fetch_add(&s->next, 1);
      if (task < s->end)
        pool->task(pool->context, task, thread);
    }
  }
}

// Waits until a job after `seen` is there, spinning first.
static void wait_for_job(sw_pool *pool, uint64_t seen) {
  for (int i = 0; i < SPINS; i++) {
    if (atomic_load(&pool->gate) / GATE_JOB != seen)
      return;
    relax();
  }
  pthread_mutex_lock(&pool->mutex);
  atomic_fetch_add(&pool->sleeping, 1);
  while (atomic_load(&pool->gate) / GATE_JOB == seen)
    pthread_cond_wait(&pool->work, &pool->mutex);
  atomic_fetch_sub(&pool->sleeping, 1);
  pthread_mutex_unlock(&pool->mutex);
}

// Joins the current job, unless it is closed; returns its number in either case.
static uint64_t take_part(sw_pool *pool, int thread) {
  uint64_t gate = atomic_load(&pool->gate);
  while (gate & GATE_OPEN) {
    if (!atomic_compare_exchange_weak(&pool->gate, &gate, gate + GATE_ONE))
      continue;
    take_tasks(pool, thread);
    atomic_fetch_add(&pool->finished, 1);
    break;
  }
  return gate / GATE_JOB;
}

static void *work(void *argument) {
  worker_argument *own = argument;
  sw_pool *pool = own->pool;
  const int thread = own->thread;
  free(own);
  for (uint64_t seen = 0; !atomic_load(&pool->stopping);) {
    wait_for_job(pool, seen);
    seen = take_part(pool, thread);
  }
  return NULL;
}

// Begins the next job, open to workers or not, and wakes those that sleep.
static void announce(sw_pool *pool, uint64_t open) {
  const uint64_t job = atomic_load(&pool->gate) / GATE_JOB + 1;
  atomic_store(&pool->gate, job * GATE_JOB + open);
  if (atomic_load(&pool->sleeping) == 0)
    return;
  pthread_mutex_lock(&pool->mutex);
  pthread_cond_broadcast(&pool->work);
  pthread_mutex_unlock(&pool->mutex);
}

int sw_available_processors(void) {
#if defined(__linux__)
  cpu_set_t set;
  if (sched_getaffinity(0, sizeof set, &set) == 0)
    return CPU_COUNT(&set);
#endif
  const long online = sysconf(_SC_NPROCESSORS_ONLN);
  return online > 0 ? (int)online : 1;
}

sw_pool *sw_pool_create(int threads) {
  sw_pool *pool = calloc(1, sizeof *pool);
  if (!pool)
    return NULL;
  pool->handles = calloc((size_t)threads, sizeof *pool->handles);
  pool->stretches = aligned_alloc(alignof(stretch), (size_t)threads * sizeof *pool->stretches);
  if (!pool->handles || !pool->stretches) {
    free(pool->handles);
    free(pool->stretches);
    free(pool);
    return NULL;
  }
  pthread_mutex_init(&pool->mutex, NULL);
  pthread_cond_init(&pool->work, NULL);
  pool->threads = 1;
  for (int i = 1; i < threads; i++) {
    worker_argument *argument = malloc(sizeof *argument);
    if (!argument)
      break;
    *argument = (worker_argument){pool, i};
    if (pthread_create(&pool->handles[i], NULL, work, argument) != 0) {
      free(argument);
      break;
    }
    pool->threads = i + 1;
  }
  return pool;
}

void sw_pool_destroy(sw_pool *pool) {
  atomic_store(&pool->stopping, 1);
  announce(pool, 0);
  for (int i = 1; i < pool->threads; i++)
    pthread_join(pool->handles[i], NULL);
  pthread_cond_destroy(&pool->work);
  pthread_mutex_destroy(&pool->mutex);
  free(pool->handles);
  free(pool->stretches);
  free(pool);
}

int sw_pool_threads(const sw_pool *pool) { return pool->threads; }

void sw_pool_run(sw_pool *pool, int64_t count, sw_task task, void *context) {
  if (count <= 0)
    return;
  if (count == 1 || pool->threads == 1) {
    for (int64_t i = 0; i < count; i++)
      task(context, i, 0);
    return;
  }
  pool->task = task;
  pool->context = context;
  for (int t = 0; t < pool->threads; t++) {
    atomic_store(&pool->stretches[t].next, count * t / pool->threads);
    pool->stretches[t].end = count * (t + 1) / pool->threads;
  }
  atomic_store(&pool->finished, 0);
  announce(pool, GATE_OPEN);
  take_tasks(pool, 0);
  const int joined = (int)((atomic_fetch_and(&pool->gate, ~GATE_OPEN) & GATE_JOINED) / GATE_ONE);
  for (int64_t spins = 0; atomic_load(&pool->finished) < joined; spins++) {
    if (spins < SPINS)
      relax();
    else
      sched_yield();
  }
}
