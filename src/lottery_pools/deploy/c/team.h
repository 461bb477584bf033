/* Threads that share each operation wait for each other after it. */
#ifdef THREADS
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>

typedef struct {
    atomic_int go;             /* 0: not all threads are there yet; 1: start; 2: give up */
    atomic_int waiting, round; /* of the meeting */
    int size;
} team;

static int started(team *all)
{
    int go;
    while ((go = atomic_load(&all->go)) == 0)
        sched_yield();
    return go == 1;
}

static void meet(team *all)
{
    if (all->size == 1)
        return;
    const int round = atomic_load(&all->round);
    if (atomic_fetch_add(&all->waiting, 1) + 1 == all->size) {
        atomic_store(&all->waiting, 0);
        atomic_fetch_add(&all->round, 1);
    } else {
        while (atomic_load(&all->round) == round)
            sched_yield();
    }
}
#else
typedef struct {
    int size;
} team;
static void meet(team *all) { (void)all; }
#endif
#endif /* LOTTERY_POOLS_PRELUDE */
