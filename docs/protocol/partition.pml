/* One partition: two workers that compete for it, its state in Redis, its output in Kafka. README.md beside this file says
 * what it shows and what it leaves out. The steps between two labels are one call; anything may happen between two calls.
 * Each #ifdef plants one mistake. */

#ifndef EVENTS
#define EVENTS 3
#endif
#ifndef FAULTS
#define FAULTS 3
#endif

#define ALL ((1 << EVENTS) - 1)
#define BITS(from, to) (((1 << (to)) - 1) & ~((1 << (from)) - 1))

/* Events of even offset are of one lead, the others of another; a batch reads and writes the leads of its events whole. */
#define EVEN (5 & ALL)
#define ODD (10 & ALL)
#define LEADS(from, to) ((((BITS(from, to) & EVEN) != 0) * EVEN) | (((BITS(from, to) & ODD) != 0) * ODD))

/* An outbox entry: the events [from, to) of its batch, each of which has one output; `to` is the batch's cut. 0: no entry. */
#define ENTRY(from, to) (((from) << 4) | (to))
#define FROM(entry) ((entry) >> 4)
#define TO(entry) ((entry) & 15)

#define MOST (EVENTS + 1)  /* a batch has at least one event; one number more shows a mistake before the array ends */

typedef Store {
    byte owner;        /* the token: the epoch of the producer that acquired; 0 nobody */
    byte batch;        /* b */
    byte next;         /* next offset */
    byte applied;      /* the events that are in the state, a bit each */
    byte published;    /* Redis' copy of W */
    byte entry[MOST]   /* the outbox, by batch */
}

Store redis, copy;
bool copied;

byte epoch;            /* of the last producer of the transactional id */
byte W;                /* b in the metadata of the group's offsets; the group may forget it */
byte cut[MOST];        /* the journal: batch -> next offset, of committed transactions */
byte last;             /* the batch of its last cut */
byte visible;          /* the outputs that a read_committed reader has seen, a bit each */

byte assigned;         /* the worker that the group gives the partition to */
byte faults = FAULTS;  /* how many more there may be, of any kind */

#define FAULT faults > 0 -> faults--

/* kill -9; or the end of what a worker, told that the partition is another's, still runs. A worker frozen is one that takes
 * no step for as long as it likes: no code is needed for it. */
#define MAY_END :: atomic { FAULT; goto ended } :: atomic { assigned != _pid -> goto ended }

inline emptied() {
    redis.owner = 0; redis.batch = 0; redis.next = 0; redis.applied = 0; redis.published = 0;
    for (j : 0 .. MOST - 1) { redis.entry[j] = 0 }
}

inline trim_to(at) {
    for (j : 0 .. MOST - 1) { if :: j <= at -> redis.entry[j] = 0 :: else fi }
    if :: redis.published < at -> redis.published = at :: else fi
}

/* What `apply` writes, once it has found the owner and the number in order. */
inline write(number, from, to, sent) {
    assert(number < MOST);
    assert((loaded & BITS(from, to)) == 0);            /* no event is applied twice */
    redis.batch = number;
    redis.next = to;
    redis.applied = (redis.applied & ~LEADS(from, to)) | loaded | BITS(from, to);
    redis.entry[number] = sent;
    assert(redis.applied == BITS(0, to))               /* none is lost: the state holds what is before its offset */
}

#ifdef NO_OWNER_CHECK
#define OWNER_OK true
#else
#define OWNER_OK redis.owner == token
#endif
#ifdef NO_LOAD_CHECK
#define LOAD(end) loaded = redis.applied & LEADS(next, end); until = end
#else
#define LOAD(end) \
    if :: redis.owner != token || redis.batch != batch -> goto ended :: else fi; \
    loaded = redis.applied & LEADS(next, end); until = end
#endif
#ifdef NO_BATCH_CHECK
#define IS_ALREADY(number) false
#define IS_GAP(number) false
#else
#define IS_ALREADY(number) redis.batch == (number)
#define IS_GAP(number) redis.batch != (number) - 1
#endif

/* A transaction with the batches published + 1 .. sending. */
inline commit_transaction() {
    for (j : published + 1 .. sending) {
        if
        :: pending[j] != 0 ->
            assert((visible & BITS(FROM(pending[j]), TO(pending[j]))) == 0);   /* none is visible twice */
            visible = visible | BITS(FROM(pending[j]), TO(pending[j]));
            cut[j] = TO(pending[j])
        :: else
        fi
    }
    assert(sending >= last);                           /* what is published never moves back */
    last = sending
#ifndef OFFSETS_OUTSIDE_TRANSACTION
    ; W = sending
#endif
}

inline begin_transaction() {
#ifdef TRIM_BEFORE_COMMIT
    if :: redis.owner == token -> trim_to(sending) :: else fi
#else
    skip
#endif
}

inline sent() {
    for (j : published + 1 .. sending) { pending[j] = 0 }
    published = sending; sending = 0; untrimmed = true
}

active [2] proctype Worker() {
    byte token;            /* 0: no incarnation */
    byte batch, next;      /* where it stands */
    byte published;        /* W as far as it knows */
    byte pending[MOST];    /* applied and not known to be published, in the worker's memory */
    byte until;            /* a batch is loaded and folded up to here; 0: none */
    byte loaded;           /* what `load` gave for it */
    byte sending;          /* the transaction that is open ends with this batch; 0: none is */
    bool untrimmed;
    byte j;                /* for loops, 0 between two steps */
#ifdef OFFSETS_OUTSIDE_TRANSACTION
    bool uncommitted;
#endif

end_waiting:
    assigned == _pid;

    /* Takes its time: by now the group may have given the partition to the other. */
#ifdef W_BEFORE_INIT
    if
    :: atomic { published = W; if :: last > published -> published = last :: else fi }
    MAY_END
    fi;
#endif
    if
    :: atomic { epoch++; token = epoch }               /* fences whoever was before, aborts what it left open */
    MAY_END
    fi;

    /* after_fence */
    if
    :: atomic {
        if
#ifndef NO_EPOCH_CHECK
        :: redis.owner > token -> goto ended           /* a later one was here first */
        :: else ->
#else
        :: true ->
#endif
            redis.owner = token; batch = redis.batch; next = redis.next
#ifndef W_BEFORE_INIT
            ; published = redis.published
#endif
        fi
       }
    MAY_END
    fi;

#ifndef W_BEFORE_INIT
    if
    :: d_step {
        if :: W > published -> published = W :: else fi
#ifndef W_FROM_OFFSETS_ALONE
        ; if :: last > published -> published = last :: else fi
#endif
       }
    MAY_END
    fi;
#endif

#ifndef NO_CUT_CHECK
    /* The store's batch is not the one of that number that was published: it is of a past that did not become the truth.
     * The worker stops; an operator empties the store and has it rebuilt. */
    if
    :: atomic { batch <= published && next != cut[batch] -> d_step { emptied(); j = 0 }; goto ended }
    :: else
    fi;
#endif

    /* Redis is behind: the same batches again, by their cuts, and nothing of them is sent. */
    do
    :: batch >= published -> break
    :: else ->
#ifdef GO_ON_BEHIND
        published = batch; break
#endif
#ifdef REFOLD_BY_OWN_BATCHES
        if
        :: atomic { next < EVENTS -> LOAD(next + 1) }
        :: atomic { next + 1 < EVENTS -> LOAD(EVENTS) }
        MAY_END
        fi;
#else
        if
        :: atomic { LOAD(cut[batch + 1]) }
        MAY_END
        fi;
#endif
again:
        /* before_apply, after_apply */
        if
        :: atomic {
            if
            :: !(OWNER_OK) -> goto ended
            :: else ->
                if
                :: IS_ALREADY(batch + 1)
                :: !(IS_ALREADY(batch + 1)) && IS_GAP(batch + 1) -> goto ended
                :: else -> write(batch + 1, next, until, 0)
                fi
            fi;
            if
            :: true
            :: FAULT; goto again                       /* the reply was lost */
            fi;
            batch++;
#ifdef SEND_ON_REFOLD
            pending[batch] = ENTRY(next, until);
#endif
            next = until; until = 0; loaded = 0
           }
        MAY_END
        fi
    od;

    /* What the predecessor applied and did not publish. */
    if
    :: atomic {
        j = published + 1;
        do
        :: j > batch -> break
        :: else -> pending[j] = redis.entry[j];
#ifndef NO_OUTBOX_CHECK
            if                                         /* Redis went back since `acquire` */
            :: pending[j] == 0 || (j == batch && TO(pending[j]) != next) -> goto ended
            :: else
            fi;
#endif
            j++
        od;
        j = 0;
#ifndef NO_CUT_CHECK_AHEAD
        if
        :: batch > published && redis.entry[published] != 0 && TO(redis.entry[published]) != cut[published] ->
            d_step { emptied(); j = 0 }; goto ended
        :: else
        fi
#endif
       }
    MAY_END
    fi;
#ifdef SEND_ON_REFOLD
    for (j : 1 .. batch) { if :: pending[j] != 0 && published >= j -> published = j - 1; break :: else fi }
    j = 0;
#endif

#ifndef READY_BEFORE_FIRST_COMMIT
    /* One transaction at least, if only to prove that this producer is the one that may write. */
    if
    :: atomic { sending = batch; begin_transaction(); j = 0 }
    MAY_END
    fi;
    /* before_commit, after_commit */
    if
    :: atomic {
        if
        :: token != epoch -> goto ended
        :: else ->
            if
            :: commit_transaction(); sent(); j = 0
            :: FAULT; commit_transaction(); goto ended /* committed, and the reply was lost */
            :: FAULT; goto ended                       /* aborted */
            fi
        fi
       }
    MAY_END
    fi;
#ifdef OFFSETS_OUTSIDE_TRANSACTION
    if :: W = published MAY_END fi;
#endif
#else
    published = published;
#endif

    /* before_ready. From here on two tasks: one reads and applies, the other publishes and trims. */
end_ready:
    do
    /* load and fold a batch of one event, or of all that there are */
    :: atomic { until == 0 && next < EVENTS -> LOAD(next + 1) }
    :: atomic { until == 0 && next + 1 < EVENTS -> LOAD(EVENTS) }

    :: atomic {
        until != 0 ->                                  /* before_apply, after_apply */
        if
        :: !(OWNER_OK) -> goto ended
        :: else ->
            if
            :: IS_ALREADY(batch + 1)
            :: !(IS_ALREADY(batch + 1)) && IS_GAP(batch + 1) -> goto ended
            :: else -> write(batch + 1, next, until, ENTRY(next, until))
            fi
        fi;
        if
        :: batch++; pending[batch] = ENTRY(next, until); next = until; until = 0; loaded = 0
        :: FAULT                                       /* the reply was lost: the same once more */
        fi
       }

    /* all that is pending, or, where it is too much for one transaction, the first batch of it */
    :: atomic { sending == 0 && published < batch -> sending = batch; begin_transaction(); j = 0 }
    :: atomic { sending == 0 && published + 1 < batch -> sending = published + 1; begin_transaction(); j = 0 }

    :: atomic {
        sending != 0 ->                                /* before_commit, after_commit */
        if
        :: token != epoch -> goto ended
        :: else ->
            if
            :: commit_transaction(); sent(); j = 0
#ifdef OFFSETS_OUTSIDE_TRANSACTION
                ; uncommitted = true
#endif
#ifdef ABORT_AND_GO_ON
            :: FAULT; commit_transaction(); sending = 0; j = 0
            :: FAULT; sending = 0
#else
            :: FAULT; commit_transaction(); goto ended
            :: FAULT; goto ended
#endif
#ifdef COMMIT_BEFORE_DELIVERY
            :: FAULT; W = sending; last = sending; for (j : published + 1 .. sending) { cut[j] = TO(pending[j]) }; sent(); j = 0
#endif
            fi
        fi
       }
#ifdef OFFSETS_OUTSIDE_TRANSACTION
    :: atomic { uncommitted -> W = published; uncommitted = false }
#endif

    :: atomic {
        untrimmed ->                                   /* before_trim, after_trim */
        if
        :: redis.owner != token -> goto ended
        :: else -> trim_to(published); j = 0; untrimmed = false
        fi
       }

    /* Events never end: the next one would show that the store is not where we left it. */
    :: atomic { next == EVENTS && (redis.owner != token || redis.batch != batch) -> goto ended }

    MAY_END
    od;

ended:
    atomic {
        token = 0; batch = 0; next = 0; published = 0; until = 0; loaded = 0; sending = 0; untrimmed = false;
        for (j : 0 .. MOST - 1) { pending[j] = 0 }
        j = 0
#ifdef OFFSETS_OUTSIDE_TRANSACTION
        ; uncommitted = false
#endif
    }
    goto end_waiting
}

/* The group, Redis' copies, and the end of all faults. */
active proctype World() {
    byte j;
end_world:
    do
    :: atomic { FAULT; assigned = 1 - assigned }
#ifndef GROUP_KEEPS
    :: d_step { W > 0 && faults > 0 -> faults--; W = 0 }   /* it expires, is deleted, or others commit under its name */
    :: d_step { W > 1 && faults > 0 -> faults--; W-- }     /* it is reset to an offset of before, or a broker's answer is stale */
#endif
#ifndef REDIS_KEEPS
    :: d_step { FAULT; emptied(); j = 0 }                /* Redis is emptied, and the rebuild allowed */
    :: d_step {                                        /* a copy of Redis at this moment, to which it will go back */
        !copied && faults > 0 -> faults--;
        copy.owner = redis.owner; copy.batch = redis.batch; copy.next = redis.next; copy.applied = redis.applied;
        copy.published = redis.published;
        for (j : 0 .. MOST - 1) { copy.entry[j] = redis.entry[j] }
        j = 0; copied = true
       }
    :: d_step {                                        /* and it does; nobody needs the copy any more */
        copied -> copied = false;
        redis.owner = copy.owner; redis.batch = copy.batch; redis.next = copy.next; redis.applied = copy.applied;
        redis.published = copy.published;
        copy.owner = 0; copy.batch = 0; copy.next = 0; copy.applied = 0; copy.published = 0;
        for (j : 0 .. MOST - 1) { redis.entry[j] = copy.entry[j]; copy.entry[j] = 0 }
        j = 0
       }
#endif
    :: atomic { faults > 0 -> faults = 0 }             /* from here on nothing goes wrong */
    od
}

/* When nobody has anything left to do, everything must be done. */
active proctype Judge() {
    timeout -> assert(visible == ALL && redis.applied == ALL && last == redis.batch)
}
