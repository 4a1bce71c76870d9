/* Two partitions that forward strays to each other: through the outbox of the one, into the journal of the other. README.md beside
 * this file says what it shows and what it leaves out; what partition.pml takes apart (load, fold, apply, trim) is one step here.
 * Anything may happen between two steps. Each #ifdef plants one mistake. */

#ifndef FAULTS
#define FAULTS 2
#endif
#ifndef WORKERS
#define WORKERS 1   /* of each partition; 2: they compete for it */
#endif

#ifndef EVENTS
#define EVENTS 2    /* of partition 0 */
#endif

/* The input of partition 0 is the events 1, 2 (and 3), that of partition 1 is 4, 5. Strays: 2 (and 3) are 1's, 5 is 0's. */
#define IN(p, at) (3 * (p) + (at))
#define INPUTS(p) (EVENTS * (1 - (p)) + 2 * (p))
#define STRAY(event) ((event) == 2 || (event) == 3 || (event) == 5)
#define OWNED(p) ((1 - (p)) * 34 + (p) * (((1 << (EVENTS + 1)) - 4) | 16))   /* a bit each */

/* A batch of the inputs (from, to] and of the journal's records up to journal_to: an outbox entry, or a cut. 0: none. */
#define ENTRY(from, to, journal_to) ((from) | ((to) << 2) | ((journal_to) << 4))
#define FROM(entry) ((entry) & 3)
#define TO(entry) (((entry) >> 2) & 3)
#define JOURNAL_TO(entry) ((entry) >> 4)
#define END(entry) ((entry) >> 2)   /* both offsets */

/* What a partition's leads come to: the events in the order in which they were folded, three bits each. */
#define COUNTED(folded, event) (((folded) & 7) == (event) || (((folded) >> 3) & 7) == (event) || ((folded) >> 6) == (event))

#define SET(folded) (((1 << ((folded) & 7)) | (1 << (((folded) >> 3) & 7)) | (1 << ((folded) >> 6))) & ~1)

#define OTHER(worker) ((worker) ^ 1)   /* of the same partition */

#define MOST (EVENTS + 3)  /* batches, and one that shows a mistake before the array ends */
#define LONGEST 15  /* of a journal: the strays, and what aborted transactions left of them */

typedef Store {
    byte owner;            /* the token: of the worker's present incarnation; 0: of nobody, or of one that has ended */
    byte batch, next, journal_next;
    short folded;
    byte entry[MOST]       /* the outbox, by batch */
}

/* A partition as Kafka has it. */
typedef Log {
    byte producer;         /* the worker that last began with the transactional id */
    byte W;                /* b in the metadata of the group's offsets; the group may forget it */
    byte last;             /* the batch of the journal's last cut */
    byte cut[MOST];        /* batch -> its entry, of committed transactions */
    byte behind[MOST];     /* batch -> the strays in the journal before its cut: while they are undecided, it is hidden */
    byte journal[LONGEST]; /* the forwarded strays; 0: aborted */
    byte end;              /* of the journal */
    byte stable            /* its last stable offset: where the other partition's open transaction begins */
}

Store redis[2], copy;
Log log[2];
byte copied;               /* 0: there is no copy; else of partition copied - 1 */
bool parted;               /* since it was taken a store was emptied, so it may be of a past that did not become the truth */
bool forth;                /* such a copy was restored */
byte assigned[2];          /* the worker that the group gives each partition to */
byte faults = FAULTS;      /* how many more there may be, of any kind, in both partitions */

#define FAULT faults > 0 -> faults--

/* kill -9; or the end of what a worker, told that the partition is another's, still runs. */
#define MAY_END :: atomic { FAULT; goto ended } :: atomic { assigned[p] != _pid -> goto ended }

#ifdef READ_UNCOMMITTED
#define READABLE log[p].end
#else
#define READABLE log[p].stable
#endif

inline emptied(store) {
    parted = parted || copied != 0;
    store.owner = 0; store.batch = 0; store.next = 0; store.journal_next = 0; store.folded = 0;
    for (j : 0 .. MOST - 1) { store.entry[j] = 0 }
    j = 0
}

inline copied_to(store, other) {
    store.owner = other.owner; store.batch = other.batch; store.next = other.next;
    store.journal_next = other.journal_next; store.folded = other.folded;
    for (j : 0 .. MOST - 1) { store.entry[j] = other.entry[j] }
    j = 0
}

inline count(event) {
    assert(!COUNTED(folded, event));                    /* no event is counted twice, by whatever way it came */
    folded = (folded << 3) | event
}

/* The records from next and journal_next on, in the order (topic, offset). Aborted ones are gaps. A record of the journal is
 * forwarded no further. */
inline fold(to, journal_to) {
    for (j : next + 1 .. to) {
        if
#ifndef COUNT_STRAYS
        :: STRAY(IN(p, j))
#endif
        :: else -> count(IN(p, j))
        fi
    }
    for (j : journal_next + 1 .. journal_to) {
        if
        :: log[p].journal[j - 1] != 0 -> count(log[p].journal[j - 1])
        :: else
        fi
    }
    next = to; journal_next = journal_to; j = 0
}

#ifdef NO_BATCH_CHECK
#define AS_LEFT true
#else
#define AS_LEFT (redis[p].owner == _pid && redis[p].batch == batch)
#endif

/* The whole of a batch. `apply` finds the store where we left it, or the incarnation ends. */
inline take(to, journal_to, kept) {
    if :: !AS_LEFT -> goto ended :: else fi;
    folded = redis[p].folded;
    assert(batch + 1 < MOST);
    redis[p].entry[batch + 1] = kept;
    fold(to, journal_to);
    batch++;
    redis[p].batch = batch; redis[p].next = next; redis[p].journal_next = journal_next; redis[p].folded = folded;
    folded = 0
}

/* The strays of a batch, to the end of the other's journal. */
inline forward(from, to) {
    for (j : from + 1 .. to) {
        if
        :: STRAY(IN(p, j)) ->
            assert(log[1 - p].end < LONGEST);
            log[1 - p].journal[log[1 - p].end] = IN(p, j); log[1 - p].end++
        :: else
        fi
    }
    j = 0
}

inline abort_open() {
    for (j : log[1 - p].stable + 1 .. log[1 - p].end) { log[1 - p].journal[j - 1] = 0 }
    j = 0; log[1 - p].stable = log[1 - p].end
}

inline begin_transaction(ends) {
    if :: log[p].producer != _pid -> goto ended :: else fi;
    sending = ends;
    for (i : published + 1 .. sending) { forward(FROM(pending[i]), TO(pending[i])) }
    i = 0;
#ifdef FORWARD_OUTSIDE_TRANSACTION
    log[1 - p].stable = log[1 - p].end;
#endif
#ifdef TRIM_BEFORE_COMMIT
    trim(sending)
#else
    skip
#endif
}

inline commit_transaction() {
    log[1 - p].stable = log[1 - p].end;
    for (j : published + 1 .. sending) { log[p].cut[j] = pending[j]; log[p].behind[j] = log[p].end }
    assert(sending >= log[p].last);                    /* what is published never moves back */
    log[p].W = sending; log[p].last = sending; j = 0
}

inline trim(at) {
    if :: redis[p].owner == _pid -> for (j : 1 .. at) { redis[p].entry[j] = 0 } :: else fi;
    j = 0
}

inline sent() {
    for (j : published + 1 .. sending) { pending[j] = 0 }
    published = sending; sending = 0; trim(published)
}

proctype Worker(byte p) {
    byte batch, next, journal_next;   /* where it stands */
    byte published;                   /* W as far as it knows */
    byte pending[MOST];               /* applied and not known to be published, in the worker's memory */
    byte sending;                     /* the transaction that is open ends with this batch; 0: none is */
    byte i, j;                        /* for loops, 0 between two steps, as is folded */
    short folded;

end_waiting:
    assigned[p] == _pid;

    if
    :: atomic {                                        /* fences whoever was before, aborts what it left open */
        log[p].producer = _pid; abort_open();
#if WORKERS > 1
       }
    MAY_END
    fi;
    if
    :: atomic {
#endif
        /* after_fence: `acquire`. No copy of the store has this incarnation's token. */
        redis[p].owner = _pid;
        if :: copied == p + 1 && copy.owner == _pid -> copy.owner = 0 :: else fi;
        batch = redis[p].batch; next = redis[p].next; journal_next = redis[p].journal_next
       }
    MAY_END
    fi;

    /* after_acquire: reads W. The store's batch must be the one that was published under its number; where it is of a past
     * that did not become the truth, the worker stops, and an operator empties the store and has it rebuilt. */
    if
    :: atomic {
#ifndef READ_CUTS_TO_STABLE
        log[p].behind[log[p].last] <= log[p].stable;   /* waits for an open transaction that hides the last cut */
#endif
        published = log[p].W;
        for (j : 1 .. log[p].last) { if :: j > published && log[p].behind[j] <= log[p].stable -> published = j :: else fi }
        j = 0;
#ifndef NO_CUT_CHECK
        if
        :: batch != 0 && batch <= published && ENTRY(0, next, journal_next) >> 2 != END(log[p].cut[batch]) ->
            emptied(redis[p]); goto ended
        :: else
        fi
#endif
       }
    MAY_END
    fi;

    /* Redis is behind: the same batches again, by their cuts, and nothing of them is sent. */
    do
    :: batch >= published -> break
#ifdef GO_ON_BEHIND
    :: atomic { batch < published -> published = batch }
#endif
#ifdef REFOLD_BY_OWN_BATCHES
    :: atomic { batch < published && next < INPUTS(p) -> take(next + 1, journal_next, 0) }
    :: atomic { batch < published -> take(INPUTS(p), log[p].stable, 0) }
#else
    :: atomic {                                        /* waits for an open transaction that hides the cut */
        batch < published && log[p].behind[batch + 1] <= log[p].stable ->
#ifdef SEND_ON_REFOLD
        forward(next, TO(log[p].cut[batch + 1])); log[1 - p].stable = log[1 - p].end;
#endif
        take(TO(log[p].cut[batch + 1]), JOURNAL_TO(log[p].cut[batch + 1]), 0)
       }
#ifdef READ_CUTS_TO_STABLE
    :: atomic { batch < published && log[p].behind[batch + 1] > log[p].stable -> goto end_stopped }
#endif
#endif
    MAY_END
    od;

    /* What the predecessor applied and did not publish. */
    if
    :: atomic {
#ifndef NO_CUT_CHECK_AHEAD
        if
        :: published != 0 && redis[p].entry[published] != 0 &&
           END(redis[p].entry[published]) != END(log[p].cut[published]) -> emptied(redis[p]); goto ended
        :: else
        fi;
#endif
        for (j : published + 1 .. batch) {
            pending[j] = redis[p].entry[j];
#ifndef NO_OUTBOX_CHECK
            if                                         /* Redis went back since `acquire` */
            :: pending[j] == 0 || (j == batch && END(pending[j]) != ENTRY(0, next, journal_next) >> 2) -> goto ended
            :: else
            fi
#endif
        }
        j = 0
       }
    MAY_END
    fi;

end_ready:
    do
    /* a batch of one input, of all that there are, or of the journal's records; aborted ones are passed over */
    :: atomic {
        next < INPUTS(p) ->
        pending[batch + 1] = ENTRY(next, next + 1, journal_next); take(next + 1, journal_next, pending[batch + 1])
       }
    :: atomic { journal_next < READABLE && log[p].journal[journal_next] == 0 -> journal_next++ }
#ifdef NEXT_PAST_OPEN_TRANSACTION
    :: atomic { journal_next < log[p].end && journal_next == READABLE -> journal_next = log[p].end }
#endif
    :: atomic {
        journal_next < READABLE && log[p].journal[journal_next] != 0 ->
        if
        :: pending[batch + 1] = ENTRY(next, next, READABLE); take(next, READABLE, pending[batch + 1])
        :: next < INPUTS(p) ->
            pending[batch + 1] = ENTRY(next, INPUTS(p), READABLE); take(INPUTS(p), READABLE, pending[batch + 1])
        fi
       }

    /* all that is pending, or, where it is too much for one transaction, the first batch of it */
    :: atomic { sending == 0 && published < batch -> begin_transaction(batch) }
    :: atomic { sending == 0 && published + 1 < batch -> begin_transaction(published + 1) }

    :: atomic {
        sending != 0 ->                                /* before_commit, after_commit */
        if
        :: log[p].producer != _pid -> goto ended
        :: else ->
            if
            :: commit_transaction(); sent()
#ifdef ABORT_AND_GO_ON
            :: FAULT; commit_transaction(); sending = 0
            :: FAULT; abort_open(); sending = 0
#else
            :: FAULT; commit_transaction(); goto ended /* committed, and the reply was lost */
            :: FAULT; goto ended                       /* aborted */
#endif
#ifdef COMMIT_BEFORE_DELIVERY
            :: FAULT; abort_open(); commit_transaction(); sent()
#endif
            fi
        fi
       }

    /* Events never end: the next one would show that the store is not where we left it. */
    :: atomic { next == INPUTS(p) && (redis[p].owner != _pid || redis[p].batch != batch) -> goto ended }

    MAY_END
    od;

#ifdef READ_CUTS_TO_STABLE
end_stopped:
    false;
#endif

ended:
    atomic {
        batch = 0; next = 0; journal_next = 0; published = 0; sending = 0; folded = 0; i = 0;
        for (j : 0 .. MOST - 1) { pending[j] = 0 }
        j = 0
    }
    goto end_waiting
}

/* The group, Redis' copies, and the end of all faults. */
active proctype World() {
    byte p, j;
    atomic {
        for (p : 0 .. 1) {
            for (j : 1 .. WORKERS) { assigned[p] = run Worker(p) }
        }
        p = 0; j = 0
    };
end_world:
    do
#if WORKERS > 1
    :: atomic { FAULT; assigned[0] = OTHER(assigned[0]) }
    :: atomic { FAULT; assigned[1] = OTHER(assigned[1]) }
#endif
#ifndef GROUP_KEEPS
    :: d_step { log[0].W > 0 && faults > 0 -> faults--; log[0].W = 0 }   /* the group forgets */
    :: d_step { log[1].W > 0 && faults > 0 -> faults--; log[1].W = 0 }
#endif
#ifndef REDIS_KEEPS
    :: d_step { FAULT; emptied(redis[0]) }               /* Redis is emptied, and the rebuild allowed */
    :: d_step { FAULT; emptied(redis[1]) }
    /* a copy of Redis at this moment, to which it will go back */
    :: d_step { copied == 0 && faults > 0 -> faults--; copied_to(copy, redis[0]); copied = 1 }
    :: d_step { copied == 0 && faults > 0 -> faults--; copied_to(copy, redis[1]); copied = 2 }
    /* and it does; nobody needs the copy any more */
    :: d_step { copied != 0 -> forth = forth || parted; copied_to(redis[copied - 1], copy); emptied(copy); copied = 0; parted = false }
#endif
    :: atomic { faults > 0 -> faults = 0 }             /* from here on nothing goes wrong */
    od
}

/* When nobody has anything left to do, everything must be done: all that was forwarded is in its owner's state, and that is what
 * the published cuts come to, folded once more. */
inline judge() {
    next = 0; journal_next = 0; folded = 0;
    for (i : 1 .. log[p].last) { fold(TO(log[p].cut[i]), JOURNAL_TO(log[p].cut[i])) }
    assert(next == INPUTS(p) && log[p].last == redis[p].batch);
    assert(SET(folded) == OWNED(p) && SET(redis[p].folded) == OWNED(p));
    assert(folded == redis[p].folded || forth || WORKERS > 1)
}

active proctype Judge() {
    byte p, i, j, next, journal_next;
    short folded;
    atomic { timeout -> p = 0; judge(); p = 1; judge() }
}
