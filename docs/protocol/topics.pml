/* One partition and the topic that it reads, which is no longer what it was: somebody deletes it and makes it again under its
 * name, or records in its middle are deleted (compaction); and Redis goes back to an older copy. README.md says what each
 * switch is. The other models take a topic for a log that keeps its records, and its name for what it is.
 */
#ifndef EVENTS
#define EVENTS 3           /* records of a topic, at most */
#endif
#ifndef FAULTS
#define FAULTS 4
#endif
#define MOST 12            /* batches */
#define ALL_OF(n) ((1 << (n)) - 1)

byte faults = FAULTS;
#define FAULT faults > 0 -> faults--

/* Kafka: the topic that has the name now, and the journal with W. */
byte id;                   /* 0, and 1 once it was made again */
byte length;
byte deleted;              /* bits: offsets whose records are gone */
typedef Cut {
    byte next;
    byte id;               /* as the position had it: what the worker took the topic for */
    byte had[2];           /* bits: which records of which topic were folded; it stands for number and digest */
    bool lost              /* nothing was folded, the offset was moved as the operator allowed */
};
Cut cut[MOST];
byte W;

/* Redis. `applied`: bits, records of each topic that count. An event that comes twice counts once, by its id. */
typedef Held { byte batch; byte next; byte id; byte applied[2] };
Held redis, copy, newest;
bool copied;
byte truth[MOST * 2];      /* `applied` as each batch left it when it was folded first */

inline take(to, from) {
    to.batch = from.batch; to.next = from.next; to.id = from.id; to.applied[0] = from.applied[0]; to.applied[1] = from.applied[1]
}

/* The batch of the records from `next` up to `until`, as the topic gives them now. */
#define RECORDS(next, until) (ALL_OF(until) & ~ALL_OF(next) & ~deleted & ALL_OF(length))

inline apply(until, as, moved) {
    redis.batch++;
    cut[redis.batch].had[0] = 0; cut[redis.batch].had[1] = 0;
    if
    :: moved
    :: else -> cut[redis.batch].had[id] = RECORDS(redis.next, until); redis.applied[id] = redis.applied[id] | RECORDS(redis.next, until)
    fi;
    redis.next = until; redis.id = as;
    cut[redis.batch].next = redis.next; cut[redis.batch].id = redis.id; cut[redis.batch].lost = moved;
    truth[redis.batch * 2] = redis.applied[0]; truth[redis.batch * 2 + 1] = redis.applied[1];
    W = redis.batch;
    take(newest, redis)
}

active proctype Worker() {
    byte b;
    byte found;
taking_over:
    /* Redis is behind: the same batches again. A refusal ends in the operator's newer copy. */
    do
    :: d_step { redis.batch < W ->
        b = redis.batch + 1;
        found = RECORDS(redis.next, cut[b].next);
        if
        :: cut[b].lost
#ifndef NO_DIGEST_CHECK
        :: !cut[b].lost && (cut[b].had[id] != found || cut[b].had[1 - id] != 0) -> take(redis, newest); b = 0
#endif
        :: else -> redis.applied[id] = redis.applied[id] | found
        fi;
        if
        :: b == 0
        :: else ->
            redis.batch = b; redis.next = cut[b].next; redis.id = cut[b].id;
            assert(redis.applied[0] == truth[b * 2] && redis.applied[1] == truth[b * 2 + 1])
        fi;
        b = 0; found = 0
       }
    :: else -> break
    od;
#ifndef NO_ID_CHECK
    /* Another topic than the one that was read, or one that ends before: refused; the operator has it read from its start. */
    if
    :: d_step { redis.id != id || redis.next > length -> apply(0, id, true) }
    :: else
    fi;
#else
    if
    :: d_step { redis.next > length -> apply(0, id, true) }
    :: else -> redis.id = id
    fi;
#endif
end_ready:
    do
    :: d_step { redis.batch == W && W < MOST - 2 && redis.next < length -> apply(redis.next + 1, redis.id, false) }
    :: atomic { redis.batch == W && W < MOST - 2 && redis.next + 1 < length -> d_step { apply(length, redis.id, false) } }
    /* Redis went back (`GAP`), or the topic ends before what was read of it. */
    :: redis.batch != W || redis.next > length -> goto taking_over
#ifndef NO_WATCH
    :: redis.id != id -> goto taking_over                  /* found some time later: until then it may be read on */
#endif
    :: atomic { FAULT; goto taking_over }                  /* another worker takes over */
    od
}

active proctype World() {
end_world:
    do
    :: length < EVENTS -> length++
    :: d_step { id == 0 && faults > 0 -> faults--; id = 1; length = 0; deleted = 0 }
    :: atomic { faults > 0 && length > 1 && deleted == 0 -> faults--; if :: deleted = 1 :: deleted = 2 fi }
    :: d_step { !copied && faults > 0 -> faults--; take(copy, redis); copied = true }
    :: d_step { copied -> copied = false; take(redis, copy); copy.batch = 0; copy.next = 0; copy.id = 0; copy.applied[0] = 0; copy.applied[1] = 0 }
    :: atomic { faults > 0 -> faults = 0 }
    od
}

/* When nobody has anything left to do, every record that the topic holds counts. */
active proctype Judge() {
    timeout -> assert((ALL_OF(length) & ~deleted & ~redis.applied[id]) == 0 && redis.batch == W)
}
