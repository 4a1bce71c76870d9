-- The ledger of one partition: acts, states of leads, nurturing, suppressions. `redis_client.py` appends this text to
-- `leadpulse.lua`, whose local functions it uses. `redis_ledger.py` has the keys.
--
-- All keys stand behind one prefix, `{ns:p}:act:`. KEYS[1] is its `position`. The others are derived from it, in the same slot.

local LEDGER = {
  'HSET', 'HGET', 'HMGET', 'HGETALL', 'HDEL', 'HINCRBY', 'EXISTS', 'DEL', 'PEXPIRE', 'SADD', 'SREM', 'SMEMBERS', 'SCARD',
  'HLEN', 'ZADD', 'ZREM', 'ZRANGE', 'ZCARD', 'ZSCORE', 'ZREMRANGEBYSCORE',
}
local KEPT_MS, CANCELS_KEPT_MS, DAY_MS, CONTENTS_KEPT_MS = 90 * 86400000, 7 * 86400000, 86400000, 400 * 86400000
local ENDS = {'done', 'dead', 'cancelled', 'stale', 'unknown', 'held'}
local FORGOTTEN, FORGOTTEN_AT_ONCE = {'done', 'dead', 'cancelled', 'stale'}, 20
local REASONS = {'complained', 'bounced', 'unsubscribed'}

local function prefix_of(keys)
  return string.sub(keys[1], 1, -#'position' - 1)
end

local function whole_number(number)
  return string.format('%.0f', number)
end

-- Offsets have up to 19 digits, and Lua's numbers 15.
local function larger(a, b)
  if #a ~= #b then return #a > #b end
  return a > b
end

-- Outputs of a lead within one millisecond follow each other by their sequence.
local function earlier(at, sequence, than_at, than_sequence)
  at, than_at = tonumber(at), tonumber(than_at)
  if at ~= than_at then return at < than_at end
  return larger(than_sequence, sequence)
end

local function pending(state)
  return state == 'intent' or state == 'retry'
end

-- The fields of an act that the functions here need.
local ROW = {'lead', 'target', 'state', 'number', 'at', 'due', 'created', 'attempts', 'unsure', 'call', 'lease', 'step', 'cancel', 'ended', 'sequence', 'output'}

-- Raises before the first write where a key of an act is of another type.
local function try_act(prefix, target, lead)
  redis.call('ZCARD', prefix .. 'queue:' .. target .. ':' .. lead)
  redis.call('ZCARD', prefix .. 'due:' .. target)
  redis.call('HLEN', prefix .. 'busy:' .. target)
  redis.call('ZCARD', prefix .. 'acted')
  redis.call('SCARD', prefix .. 'lead:' .. lead)
end

local function read_row(prefix, id)
  local held = redis.call('HMGET', prefix .. 'row:' .. id, unpack(ROW))
  if not held[1] then return nil end
  local row = {id = id, key = prefix .. 'row:' .. id}
  for i, name in ipairs(ROW) do row[name] = held[i] or '' end
  for _, name in ipairs({'number', 'at', 'due', 'created', 'attempts', 'lease'}) do row[name] = tonumber(row[name]) or 0 end
  if row.sequence == '' then row.sequence = '0' end
  row.member = string.format('%016.0f', row.number) .. id
  row.queue = prefix .. 'queue:' .. row.target .. ':' .. row.lead
  try_act(prefix, row.target, row.lead)
  return row
end

local function next_number(prefix)
  return redis.call('HINCRBY', prefix .. 'position', 'numbers', 1)
end

-- Notes when the next act of a lead at a target is due: when the lease of its running attempt ends, else with the first that waits.
local function reschedule(prefix, target, lead)
  local due, busy = prefix .. 'due:' .. target, redis.call('HGET', prefix .. 'busy:' .. target, lead)
  local at = busy and redis.call('HGET', prefix .. 'row:' .. busy, 'lease')
  if not at then
    local head = redis.call('ZRANGE', prefix .. 'queue:' .. target .. ':' .. lead, 0, 0)[1]
    at = head and redis.call('HGET', prefix .. 'row:' .. string.sub(head, 17), 'due')
  end
  if at then redis.call('ZADD', due, at, lead) else redis.call('ZREM', due, lead) end
end

local function not_busy(prefix, row)
  local key = prefix .. 'busy:' .. row.target
  if redis.call('HGET', key, row.lead) == row.id then redis.call('HDEL', key, row.lead) end
end

-- It comes before other writes, because it is refused where the key is of another type.
local function index(prefix, row, state, score)
  redis.call('ZADD', prefix .. 'is:' .. state .. ':' .. row.target, score, row.id)
  if state ~= row.state then redis.call('ZREM', prefix .. 'is:' .. row.state .. ':' .. row.target, row.id) end
end

local function end_act(prefix, row, state, detail, now, remote)
  index(prefix, row, state, now)
  redis.call('HSET', row.key, 'state', state, 'detail', detail, 'updated', now)
  redis.call('HDEL', row.key, 'due', 'call', 'lease', 'step', 'cancel')  -- ends are kept for long, so they are kept small
  if state ~= 'unknown' then
    redis.call('HDEL', row.key, 'unsure')
  elseif row.unsure ~= '' then
    redis.call('HSET', row.key, 'unsure', row.unsure)
  end
  if remote and remote ~= '' then redis.call('HSET', row.key, 'remote', remote) end
  row.state = state
  redis.call('ZREM', row.queue, row.member)
  not_busy(prefix, row)
  local number = next_number(prefix)
  redis.call('ZADD', prefix .. 'acted', number, whole_number(number) .. '|' .. row.id)
  reschedule(prefix, row.target, row.lead)
end

-- A running attempt ends by itself. What may have been done is for a person to decide.
local function cancel_act(prefix, row, why, now)
  if row.lease > tonumber(now) then
    redis.call('HSET', row.key, 'cancel', why)
  elseif row.unsure ~= '' or row.step ~= '' then
    if row.step ~= '' then row.unsure = row.step end
    end_act(prefix, row, 'unknown', why, now)
  else
    end_act(prefix, row, 'cancelled', why, now)
  end
end

local function each_waiting(prefix, lead, visit)
  for _, target in ipairs(redis.call('SMEMBERS', prefix .. 'targets')) do
    for _, member in ipairs(redis.call('ZRANGE', prefix .. 'queue:' .. target .. ':' .. lead, 0, -1)) do
      local row = read_row(prefix, string.sub(member, 17))
      if row then visit(row) end
    end
  end
end

-- Returns up to when a lead was erased: time and sequence.
local function erased_at(prefix, mark)
  local at, sequence = string.match(redis.call('HGET', prefix .. 'erased', mark) or '0', '^(%d+)%s*%S*%s*(%d*)$')
  return at, sequence == '' and '0' or sequence
end

local function was_erased(prefix, mark, at, sequence)
  return earlier(at, sequence, erased_at(prefix, mark))
end

local function remove_act(prefix, row)
  redis.call('ZREM', row.queue, row.member)
  redis.call('ZREM', prefix .. 'is:' .. row.state .. ':' .. row.target, row.id)
  redis.call('SREM', prefix .. 'lead:' .. row.lead, row.id)
  redis.call('DEL', row.key)
  not_busy(prefix, row)
  reschedule(prefix, row.target, row.lead)
end

-- Each operation of `take`: how many arguments it has, and what it does with them.
local OPS = {}

-- id, lead, target, types of `unless` (a line each), packed, time, due, unsure, why it is dead, the lead's mark, the output's
-- sequence and time
OPS.act = {12, function(prefix, now, id, lead, target, unless, packed, at, due, unsure, dead, mark, sequence, output)
  local key = prefix .. 'row:' .. id
  if redis.call('EXISTS', key) == 1 or was_erased(prefix, mark, output, sequence) then return end
  try_act(prefix, target, lead)
  redis.call('ZADD', prefix .. 'is:intent:' .. target, now, id)
  redis.call('SADD', prefix .. 'targets', target)
  redis.call('SADD', prefix .. 'lead:' .. lead, id)
  local number = next_number(prefix)
  redis.call('HSET', key, 'lead', lead, 'target', target, 'unless', unless, 'packed', packed, 'at', at, 'due', due,
    'number', number, 'created', now, 'updated', now, 'state', 'intent', 'attempts', 0, 'unsure', unsure,
    'sequence', sequence, 'output', output)
  local row = read_row(prefix, id)
  redis.call('ZADD', row.queue, at, row.member)
  if dead ~= '' then return end_act(prefix, row, 'dead', dead, now) end
  for type in string.gmatch(unless, '[^\n]+') do
    local held = redis.call('HGET', prefix .. 'cancels:' .. lead, type)
    if held then
      local cancelled, came, after = string.match(held, '^(%d+) (%d+) ?(%d*)$')
      if earlier(at, sequence, cancelled, after == '' and '0' or after) and tonumber(came) >= tonumber(now) - CANCELS_KEPT_MS then
        return cancel_act(prefix, row, type, now)
      end
    end
  end
  reschedule(prefix, target, lead)
end}

-- lead, type, time, sequence
OPS.cancel = {4, function(prefix, now, lead, type, at, sequence)
  local key = prefix .. 'cancels:' .. lead
  local before, came, after = string.match(redis.call('HGET', key, type) or '0 0', '^(%d+) (%d+) ?(%d*)$')
  if after == '' then after = '0' end
  if earlier(before, after, at, sequence) or (at == before and after == sequence and larger(now, came)) then
    redis.call('HSET', key, type, at .. ' ' .. now .. ' ' .. sequence)
  end
  redis.call('PEXPIRE', key, CANCELS_KEPT_MS)
  each_waiting(prefix, lead, function(row)
    local unless = redis.call('HGET', row.key, 'unless')
    if earlier(row.at, row.sequence, at, sequence) and string.find('\n' .. unless .. '\n', '\n' .. type .. '\n', 1, true) then
      cancel_act(prefix, row, type, now)
    end
  end)
end}

-- target, rule, lead, sequence, packed, time, due, the lead's mark. A state that waits gives its turn to the newer one.
OPS.state = {8, function(prefix, now, target, rule, lead, sequence, packed, at, due, mark)
  local member = rule .. '|' .. lead
  local key = prefix .. 'state:' .. target .. ':' .. member
  local held = redis.call('HMGET', key, 'sequence', 'dead')
  local written = redis.call('HGET', prefix .. 'written:' .. target, member)
  if (held[1] and not larger(sequence, held[1])) or (written and not larger(sequence, written)) then return end
  if was_erased(prefix, mark, at, sequence) then return end
  if held[1] and held[2] == '' then
    redis.call('HSET', key, 'sequence', sequence, 'packed', packed, 'at', at)
    return
  end
  redis.call('ZREM', prefix .. 'states_dead:' .. target, member)
  redis.call('ZADD', prefix .. 'states:' .. target, due, member)
  redis.call('ZADD', prefix .. 'waiting:' .. target, now, member)
  redis.call('SADD', prefix .. 'targets', target)
  redis.call('SADD', prefix .. 'syncs', target .. ':' .. rule)
  redis.call('HSET', key, 'sequence', sequence, 'packed', packed, 'at', at, 'first', now, 'attempts', 0, 'dead', '')
end}

-- mark of the key, reason, time, the key's murmur2, by which its owner is known again
OPS.suppress = {4, function(prefix, now, mark, reason, at, murmur)
  local lifted = string.match(redis.call('HGET', prefix .. 'lifted', mark) or '0', '^%d+')
  if reason == 'unsubscribed' and larger(lifted, at) then return end
  local before = string.match(redis.call('HGET', prefix .. 'suppressed:' .. reason, mark) or '0', '^%d+')
  if not larger(before, at) then redis.call('HSET', prefix .. 'suppressed:' .. reason, mark, at .. ' ' .. murmur) end
end}

-- mark of the key, time, murmur2
OPS.lift = {3, function(prefix, now, mark, at, murmur)
  local before = string.match(redis.call('HGET', prefix .. 'lifted', mark) or '0', '^%d+')
  if not larger(before, at) then redis.call('HSET', prefix .. 'lifted', mark, at .. ' ' .. murmur) end
  local held = redis.call('HGET', prefix .. 'suppressed:unsubscribed', mark)
  if held and larger(at, string.match(held, '^%d+')) then redis.call('HDEL', prefix .. 'suppressed:unsubscribed', mark) end
end}

-- rule, lead, packed, time, due, '1' for a lead who is enrolled alone, the lead's mark, the output's sequence
OPS.enrol = {8, function(prefix, now, rule, lead, packed, at, due, only, mark, sequence)
  local member = rule .. '|' .. lead
  local key = prefix .. 'enrol:' .. member
  local held = redis.call('HMGET', key, 'enrolled', 'at')
  local enrolled = held[1] == '1'
  if was_erased(prefix, mark, at, sequence) or (only == '1' and not enrolled) then return end
  if not enrolled then
    redis.call('SADD', prefix .. 'nurtures', rule)
    redis.call('ZADD', prefix .. 'enrolled', due, member)
    redis.call('HSET', key, 'enrolled', '1')
  end
  if not enrolled or not larger(held[2], at) then
    redis.call('HSET', key, 'packed', packed, 'at', at, 'sequence', sequence)
  end
end}

-- rule, lead
OPS.leave = {2, function(prefix, now, rule, lead)
  local member = rule .. '|' .. lead
  if redis.call('EXISTS', prefix .. 'enrol:' .. member) == 1 then
    redis.call('HSET', prefix .. 'enrol:' .. member, 'enrolled', '0', 'packed', '')
    redis.call('ZREM', prefix .. 'enrolled', member)
  end
  each_waiting(prefix, lead, function(row)
    if string.sub(row.id, 1, #rule + 1) == rule .. '/' then cancel_act(prefix, row, 'left ' .. rule, now) end
  end)
end}

-- rule, lead, content, due, '1' where the arguments of its act follow. Those are empty otherwise.
OPS.nurtured = {17, function(prefix, now, rule, lead, content, due, has_act, ...)
  local member = rule .. '|' .. lead
  local key = prefix .. 'enrol:' .. member
  local held = redis.call('HMGET', key, 'enrolled', 'sent')
  if held[1] ~= '1' then return end
  local sent = held[2] or ''
  if content ~= '' and not string.find('\n' .. sent, '\n' .. content .. '\n', 1, true) then
    redis.call('HSET', key, 'sent', sent .. content .. '\n')
    if has_act == '1' then OPS.act[2](prefix, now, ...) end
  end
  if due == '0' then redis.call('ZREM', prefix .. 'enrolled', member) else redis.call('ZADD', prefix .. 'enrolled', due, member) end
end}

-- lead, time, the lead's mark, its murmur2, the output's sequence
OPS.erase = {5, function(prefix, now, lead, at, mark, murmur, sequence)
  local before, after = erased_at(prefix, mark)
  if not earlier(at, sequence, before, after) then
    redis.call('HSET', prefix .. 'erased', mark, at .. ' ' .. murmur .. ' ' .. sequence)
  end
  for _, id in ipairs(redis.call('SMEMBERS', prefix .. 'lead:' .. lead)) do
    local row = read_row(prefix, id)
    if row and earlier(row.output ~= '' and row.output or row.at, row.sequence, at, sequence) then remove_act(prefix, row) end
  end
  for _, sync in ipairs(redis.call('SMEMBERS', prefix .. 'syncs')) do
    local target, rule = string.match(sync, '^([^:]*):(.*)$')
    local member = rule .. '|' .. lead
    local key = prefix .. 'state:' .. target .. ':' .. member
    local held = redis.call('HMGET', key, 'at', 'sequence')
    if held[1] and earlier(held[1], held[2], at, sequence) then
      redis.call('DEL', key)
      for _, name in ipairs({'states:', 'waiting:', 'states_dead:'}) do redis.call('ZREM', prefix .. name .. target, member) end
    end
    redis.call('HDEL', prefix .. 'written:' .. target, member)
  end
  for _, rule in ipairs(redis.call('SMEMBERS', prefix .. 'nurtures')) do
    local member = rule .. '|' .. lead
    local held = redis.call('HMGET', prefix .. 'enrol:' .. member, 'at', 'sequence')
    if held[1] and earlier(held[1], held[2] or '0', at, sequence) then
      redis.call('DEL', prefix .. 'enrol:' .. member)
      redis.call('ZREM', prefix .. 'enrolled', member)
    end
  end
  redis.call('DEL', prefix .. 'cancels:' .. lead)
  if string.sub(lead, 1, 6) == 'email:' then  -- an address that takes no mail takes none after the erasure either
    redis.call('DEL', prefix .. 'contents:' .. mark .. ':' .. murmur)
    return
  end
  for _, reason in ipairs(REASONS) do redis.call('HDEL', prefix .. 'suppressed:' .. reason, mark) end
  redis.call('HDEL', prefix .. 'lifted', mark)
end}

-- Forgets a few acts at *target* that ended long ago. A call that ends more acts than that is followed by many that end none.
local function forget_old(prefix, target, now)
  for _, state in ipairs(FORGOTTEN) do
    local key = prefix .. 'is:' .. state .. ':' .. target
    local old = '(' .. whole_number(tonumber(now) - KEPT_MS)
    for _, id in ipairs(redis.call('ZRANGE', key, '-inf', old, 'BYSCORE', 'LIMIT', 0, FORGOTTEN_AT_ONCE)) do
      local row = read_row(prefix, id)
      if row then remove_act(prefix, row) else redis.call('ZREM', key, id) end
    end
  end
end

-- ARGV: now, 'again' where positions may move back, how many arguments the position has, those (names and offsets), then each
-- operation's name with its arguments.
local function ledger_take(keys, args)
  local refused = missing(LEDGER, keys[1], {})
  if #refused > 0 then
    error({err = 'NOPERM this Redis user may not run ' .. table.concat(refused, ', ')})
  end
  local prefix, now, at = prefix_of(keys), args[1], 4 + tonumber(args[3])
  redis.call('HMGET', keys[1], 'numbers')  -- refuses a key of another type before the first write
  while at <= #args do
    local op = OPS[args[at]]
    op[2](prefix, now, unpack(args, at + 1, at + op[1]))
    at = at + op[1] + 1
  end
  for i = 4, 3 + tonumber(args[3]), 2 do
    local name, held = 'next:' .. args[i], redis.call('HGET', keys[1], 'next:' .. args[i])
    if not held or args[2] == 'again' or larger(args[i + 1], held) then redis.call('HSET', keys[1], name, args[i + 1]) end
  end
  local targets = redis.call('SMEMBERS', prefix .. 'targets')
  if #targets > 0 then forget_old(prefix, targets[1 + tonumber(now) % #targets], now) end
  return 'DONE'
end

-- After its lease an attempt is over. An unsafe step without an answer makes the next one unsure.
local function lease_over(prefix, row, now)
  if row.step ~= '' then row.unsure = row.step end
  row.step, row.lease = '', 0
  redis.call('HSET', row.key, 'unsure', row.unsure, 'call', '', 'lease', 0, 'step', '')
  not_busy(prefix, row)
  if row.cancel ~= '' then cancel_act(prefix, row, row.cancel, now) end
end

-- ARGV: target, now, lease (ms), how many, call. Returns id and fields of each.
local function ledger_claim(keys, args)
  local prefix, target, now, found = prefix_of(keys), args[1], args[2], {}
  forget_old(prefix, target, now)
  local due = redis.call('ZRANGE', prefix .. 'due:' .. target, '-inf', now, 'BYSCORE', 'LIMIT', 0, args[4])
  for _, lead in ipairs(due) do
    local busy = redis.call('HGET', prefix .. 'busy:' .. target, lead)
    local row = busy and read_row(prefix, busy)
    if row then lease_over(prefix, row, now) elseif busy then redis.call('HDEL', prefix .. 'busy:' .. target, lead) end
    local head = redis.call('ZRANGE', prefix .. 'queue:' .. target .. ':' .. lead, 0, 0)[1]
    row = head and read_row(prefix, string.sub(head, 17))
    if row and row.due <= tonumber(now) then
      redis.call('HSET', row.key, 'call', args[5], 'lease', whole_number(now + args[3]), 'attempts', row.attempts + 1)
      redis.call('HSET', prefix .. 'busy:' .. target, lead, row.id)
      found[#found + 1] = {row.id, redis.call('HGETALL', row.key)}
    end
    reschedule(prefix, target, lead)
  end
  return found
end

local function ours(row, call)
  return row and call ~= '' and row.call == call and pending(row.state)
end

-- ARGV: id, call, step ('' leaves what is noted), until
local function ledger_begin(keys, args)
  local prefix = prefix_of(keys)
  local row = read_row(prefix, args[1])
  if not ours(row, args[2]) or row.cancel ~= '' then return 0 end
  redis.call('HSET', row.key, 'lease', args[4])
  if args[3] ~= '' then redis.call('HSET', row.key, 'step', args[3]) end
  reschedule(prefix, row.target, row.lead)
  return 1
end

-- ARGV: id, call, name, value
local function ledger_remember(keys, args)
  local row = read_row(prefix_of(keys), args[1])
  if not ours(row, args[2]) then return 0 end
  redis.call('HSET', row.key, 'k:' .. args[3], args[4], 'step', '')
  return 1
end

-- ARGV: id, call, state, detail, remote id, due, unsure, now
local function ledger_finish(keys, args)
  local prefix, state, now = prefix_of(keys), args[3], args[8]
  local row = read_row(prefix, args[1])
  if not row then return 0 end
  -- Whoever did it has done it, whatever others concluded since.
  if not ours(row, args[2]) and (state ~= 'done' or row.state == 'done') then return row.ended == args[2] and 1 or 0 end
  if not pending(state) then
    if args[7] ~= '' then row.unsure = args[7] end
    end_act(prefix, row, state, args[4], now, args[5])
    redis.call('HSET', row.key, 'ended', args[2])
    return 1
  end
  local attempts = state == 'intent' and row.attempts - 1 or row.attempts
  local after = attempts > 0 and 'retry' or 'intent'
  index(prefix, row, after, row.created)
  redis.call('HSET', row.key, 'state', after, 'attempts', attempts, 'detail', args[4], 'due', args[6], 'unsure', args[7],
    'updated', now, 'call', '', 'lease', 0, 'step', '', 'ended', args[2])
  row.state, row.unsure, row.step, row.lease = after, args[7], '', 0
  not_busy(prefix, row)
  if row.cancel ~= '' then cancel_act(prefix, row, row.cancel, now) end
  reschedule(prefix, row.target, row.lead)
  return 1
end

-- ARGV: id, state, detail, now
local function ledger_decide(keys, args)
  local prefix, now = prefix_of(keys), args[4]
  local row = read_row(prefix, args[1])
  if not row or row.lease > tonumber(now) or row.state == 'done' then return 0 end
  row.unsure = ''
  if not pending(args[2]) then
    end_act(prefix, row, args[2], args[3], now)
    return 1
  end
  index(prefix, row, 'intent', row.created)
  redis.call('HSET', row.key, 'state', 'intent', 'detail', args[3], 'due', now, 'updated', now, 'decided', '1', 'unsure', '',
    'call', '', 'lease', 0, 'step', '', 'cancel', '')
  redis.call('ZADD', row.queue, row.at, row.member)
  not_busy(prefix, row)
  reschedule(prefix, row.target, row.lead)
  return 1
end

-- ARGV: ids of acts that wait. Their leases hold, for a request may be on its way.
local function ledger_distrust(keys, args)
  local prefix = prefix_of(keys)
  for _, id in ipairs(args) do
    local row = read_row(prefix, id)
    if row and pending(row.state) then redis.call('HSET', row.key, 'unsure', '*', 'step', '', 'call', '') end
  end
  return 'DONE'
end

-- ARGV: target, now, lease (ms), how many. Returns rule|lead, sequence, packed, attempts, first of each.
local function ledger_claim_states(keys, args)
  local prefix, target, found = prefix_of(keys), args[1], {}
  local due = prefix .. 'states:' .. target
  for _, member in ipairs(redis.call('ZRANGE', due, '-inf', args[2], 'BYSCORE', 'LIMIT', 0, args[4])) do
    local key = prefix .. 'state:' .. target .. ':' .. member
    local attempts = redis.call('HINCRBY', key, 'attempts', 1)
    local held = redis.call('HMGET', key, 'sequence', 'packed', 'first')
    redis.call('ZADD', due, whole_number(args[2] + args[3]), member)
    found[#found + 1] = {member, held[1], held[2], attempts, held[3]}
  end
  return found
end

-- ARGV: target, now, then rule|lead, sequence, due, failure of each.
local function ledger_finish_states(keys, args)
  local prefix, target, now = prefix_of(keys), args[1], args[2]
  local due, waiting, written = prefix .. 'states:' .. target, prefix .. 'waiting:' .. target, prefix .. 'written:' .. target
  for i = 3, #args, 4 do
    local member, sequence, again, failure = args[i], args[i + 1], args[i + 2], args[i + 3]
    local key = prefix .. 'state:' .. target .. ':' .. member
    local held = redis.call('HMGET', key, 'sequence', 'dead')
    local is_newer = held[1] and larger(held[1], sequence)
    if held[1] and failure == '' then
      local before = redis.call('HGET', written, member)
      if not before or larger(sequence, before) then redis.call('HSET', written, member, sequence) end
    end
    if held[1] and failure == '' and not is_newer then
      redis.call('DEL', key)
      for _, name in ipairs({due, waiting, prefix .. 'states_dead:' .. target}) do redis.call('ZREM', name, member) end
    elseif held[1] and held[2] == '' then
      if failure == '' then
        redis.call('HSET', key, 'first', now, 'attempts', 0)
        redis.call('ZADD', waiting, now, member)
        redis.call('ZADD', due, now, member)
      elseif again ~= '0' or is_newer then
        redis.call('ZADD', due, again ~= '0' and again or now, member)
      else
        redis.call('HSET', key, 'dead', failure)
        redis.call('ZREM', due, member)
        redis.call('ZREM', waiting, member)
        redis.call('ZADD', prefix .. 'states_dead:' .. target, now, member)
      end
    end
  end
  return 'DONE'
end

-- ARGV: now, lease (ms), how many. Returns rule|lead, packed, sent of each.
local function ledger_claim_enrolled(keys, args)
  local prefix, found = prefix_of(keys), {}
  local due = prefix .. 'enrolled'
  for _, member in ipairs(redis.call('ZRANGE', due, '-inf', args[1], 'BYSCORE', 'LIMIT', 0, args[3])) do
    local held = redis.call('HMGET', prefix .. 'enrol:' .. member, 'packed', 'sent')
    redis.call('ZADD', due, whole_number(args[1] + args[2]), member)
    found[#found + 1] = {member, held[1], held[2] or ''}
  end
  return found
end

-- ARGV: marks. Returns a reason for each, '' for none.
local function ledger_suppressed(keys, args)
  local prefix, found = prefix_of(keys), {}
  for i, mark in ipairs(args) do
    found[i] = ''
    for _, reason in ipairs(REASONS) do
      if found[i] == '' and redis.call('HGET', prefix .. 'suppressed:' .. reason, mark) then found[i] = reason end
    end
  end
  return found
end

-- ARGV: name of the address, id of the act, now, most. Returns 0 where the mail is counted, else when one will be.
-- A mail that is tried again counts from now, for it may have gone out at no earlier try.
local function ledger_mail(keys, args)
  local key, now, most = prefix_of(keys) .. 'mails:' .. args[1], tonumber(args[3]), tonumber(args[4])
  redis.call('ZREMRANGEBYSCORE', key, '-inf', whole_number(now - DAY_MS))
  local count = redis.call('ZCARD', key)
  if count >= most and not redis.call('ZSCORE', key, args[2]) then
    return tonumber(redis.call('ZRANGE', key, count - most, count - most, 'WITHSCORES')[2]) + DAY_MS
  end
  redis.call('ZADD', key, now, args[2])
  redis.call('PEXPIRE', key, 2 * DAY_MS)
  return 0
end

-- ARGV: name of the address, content, id of the act. Returns 1 where the content is that act's.
local function ledger_content(keys, args)
  local key = prefix_of(keys) .. 'contents:' .. args[1]
  local held = redis.call('HGET', key, args[2])
  if held then return held == args[3] and 1 or 0 end
  redis.call('HSET', key, args[2], args[3])
  redis.call('PEXPIRE', key, CONTENTS_KEPT_MS)
  return 1
end

local ACTED_AT_ONCE = 1000

-- ARGV: how many. Returns entry, id and fields of each. Acts that wait again, and those that are gone, are passed over.
local function ledger_acted(keys, args)
  local prefix, most, found = prefix_of(keys), tonumber(args[1]), {}
  for _, entry in ipairs(redis.call('ZRANGE', prefix .. 'acted', 0, ACTED_AT_ONCE - 1)) do
    if #found == most then break end
    local id = string.match(entry, '^%d+|(.*)$')
    local state = redis.call('HGET', prefix .. 'row:' .. id, 'state')
    if state and not pending(state) then
      found[#found + 1] = {entry, id, redis.call('HGETALL', prefix .. 'row:' .. id)}
    else
      redis.call('ZREM', prefix .. 'acted', entry)
    end
  end
  return found
end

-- ARGV: targets. Returns the earliest instant, nil without any.
local function ledger_next_due(keys, args)
  local prefix, first = prefix_of(keys), nil
  local function look(key)
    local at = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
    if at and (not first or at < first) then first = at end
  end
  look(prefix .. 'enrolled')
  for _, target in ipairs(args) do
    look(prefix .. 'due:' .. target)
    look(prefix .. 'states:' .. target)
  end
  return first and whole_number(first)
end

-- Returns for each target its name and its figures, flat.
local function ledger_figures(keys)
  local prefix, all = prefix_of(keys), {}
  for _, target in ipairs(redis.call('SMEMBERS', prefix .. 'targets')) do
    local found, oldest = {}, nil
    local function count(name, key)
      local many = redis.call('ZCARD', key)
      if many > 0 then
        found[#found + 1] = name
        found[#found + 1] = many
      end
    end
    local function look(key)
      local at = tonumber(redis.call('ZRANGE', key, 0, 0, 'WITHSCORES')[2])
      if at and (not oldest or at < oldest) then oldest = at end
    end
    for _, state in ipairs({'intent', 'retry', unpack(ENDS)}) do count(state, prefix .. 'is:' .. state .. ':' .. target) end
    count('states', prefix .. 'states:' .. target)
    count('states_dead', prefix .. 'states_dead:' .. target)
    look(prefix .. 'is:intent:' .. target)
    look(prefix .. 'is:retry:' .. target)
    look(prefix .. 'waiting:' .. target)
    if oldest then
      found[#found + 1] = 'oldest_ms'
      found[#found + 1] = whole_number(oldest)
    end
    all[#all + 1] = {target, found}
  end
  return all
end

-- ARGV: ids. Returns the fields of each, none for an act that is gone.
local function ledger_rows(keys, args)
  local prefix, found = prefix_of(keys), {}
  for i, id in ipairs(args) do found[i] = redis.call('HGETALL', prefix .. 'row:' .. id) end
  return found
end

local function ledger_rights(keys)
  return missing(LEDGER, keys[1], {})
end

register('ledger_take', ledger_take, {})
register('ledger_take_smaller', ledger_take, {'allow-oom'})  -- without operations that add anything
register('ledger_claim', ledger_claim, {'allow-oom'})
register('ledger_begin', ledger_begin, {'allow-oom'})
register('ledger_remember', ledger_remember, {'allow-oom'})
register('ledger_finish', ledger_finish, {'allow-oom'})
register('ledger_decide', ledger_decide, {'allow-oom'})
register('ledger_distrust', ledger_distrust, {'allow-oom'})
register('ledger_claim_states', ledger_claim_states, {'allow-oom'})
register('ledger_finish_states', ledger_finish_states, {'allow-oom'})
register('ledger_claim_enrolled', ledger_claim_enrolled, {'allow-oom'})
register('ledger_suppressed', ledger_suppressed, {'no-writes'})
register('ledger_mail', ledger_mail, {'allow-oom'})
register('ledger_content', ledger_content, {'allow-oom'})
register('ledger_acted', ledger_acted, {'allow-oom'})
register('ledger_next_due', ledger_next_due, {'no-writes'})
register('ledger_figures', ledger_figures, {'no-writes'})
register('ledger_rows', ledger_rows, {'no-writes'})
register('ledger_rights', ledger_rights, {'no-writes'})

-- Puts an act of another partition or namespace here, with all its fields. ARGV: id, then its fields and values.
local function ledger_restore(keys, args)
  local prefix, held = prefix_of(keys), {}
  for i = 2, #args, 2 do held[args[i]] = args[i + 1] end
  try_act(prefix, held.target, held.lead)
  redis.call('HSET', prefix .. 'row:' .. args[1], unpack(args, 2))
  redis.call('SADD', prefix .. 'targets', held.target)
  redis.call('SADD', prefix .. 'lead:' .. held.lead, args[1])
  local row = read_row(prefix, args[1])
  index(prefix, row, row.state, pending(row.state) and held.created or held.updated)
  if pending(row.state) then
    redis.call('ZADD', row.queue, row.at, row.member)
    if row.lease > 0 then redis.call('HSET', prefix .. 'busy:' .. row.target, row.lead, row.id) end
    reschedule(prefix, row.target, row.lead)
  end
  local numbers = tonumber(redis.call('HGET', keys[1], 'numbers') or '0')
  if row.number > numbers then redis.call('HSET', keys[1], 'numbers', whole_number(row.number)) end
  return 'DONE'
end

register('ledger_restore', ledger_restore, {})
