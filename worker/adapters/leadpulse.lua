-- One partition's state in Redis. `redis_store.py` puts the library's header and `local LIBRARY` before this text; both
-- the library and its functions carry a digest of it, so two versions of the worker live side by side in a rolling upgrade.
--
-- A Redis function is atomic but is not rolled back when it fails half-way. So each function that writes first tries
-- everything that could go wrong (owner, batch number, rights, types, the blob), and writes after that.
--
-- KEYS always begin: [1] position (hash)  [2] due (zset)  [3] rank (zset)  [4] outbox (stream)  [5] grid (string)

local WRITING = {'HSET', 'HDEL', 'DEL', 'ZADD', 'ZREM', 'XADD', 'XTRIM', 'SET'}
local READING = {'HGET', 'HMGET', 'HGETALL', 'HLEN', 'ZCARD', 'XLEN', 'STRLEN', 'EXISTS'}
local FROM_OUTSIDE = {'ZRANGEBYSCORE', 'ZREVRANGE', 'XRANGE', 'GET'}

-- Lua's unpack puts its values on a stack of 8,000 slots.
local CHUNK = 4000

local function missing(commands, key, found)
  for _, command in ipairs(commands) do
    if not redis.acl_check_cmd(command, key) then found[#found + 1] = command end
  end
  return found
end

-- Raises before the first write what Redis would else raise in the middle of them.
local function try_writing(keys)
  local refused = missing(WRITING, keys[1], {})
  if #refused > 0 then
    error({err = 'NOPERM this Redis user may not run ' .. table.concat(refused, ', ')})
  end
  redis.call('ZCARD', keys[2])
  redis.call('ZCARD', keys[3])
  redis.call('XLEN', keys[4])
  redis.call('STRLEN', keys[5])
end

local function fenced(owner)
  if owner then return redis.error_reply('FENCED the partition belongs to ' .. owner) end
  return redis.error_reply('FENCED the partition has no owner: Redis was emptied or nobody acquired it')
end

local function full()
  return redis.error_reply('OOM Redis is at maxmemory and this batch needs more')
end

local function in_chunks(command, key, values)
  for first = 1, #values, CHUNK do
    redis.call(command, key, unpack(values, first, math.min(first + CHUNK - 1, #values)))
  end
end

-- A hash with a value over 64 bytes costs 300 to 550 bytes more, unless the server's `hash-max-listpack-value` is raised. There a
-- state of this many bytes lies in pieces, one field after the other whose name (behind a byte that is the field's number) and
-- value are the next bytes. `state` then holds no more than the state's version, as msgpack's [version]: a worker that knows of no
-- pieces says that a newer one wrote it. A lead with a smaller state takes less than 2 kB as it is, larger ones gain nothing by
-- it, and each piece takes half a microsecond. 63, because a 64th byte takes a second byte to say how long it is.
local PIECE, PIECES_FROM, PIECES_TO, HEAD = 63, 1017, 1800, 2

local function in_pieces(fields, state)
  local sub, char, last, number = string.sub, string.char, #fields, 0
  fields[last] = '\145' .. sub(state, 4, 4)  -- behind three bytes that say "a list of so many"
  for at = 1, #state, 2 * PIECE - 1 do
    number = number + 1
    fields[last + 1] = char(number) .. sub(state, at, at + PIECE - 2)
    fields[last + 2] = sub(state, at + PIECE - 1, at + 2 * PIECE - 2)
    last = last + 2
  end
end

-- Writes a lead's hash, which has `held` fields by now: `fields` (flat; they are added to) and its state. `server.takes_long`:
-- whether this server keeps long values in small hashes; nil until it was tried, once a call, since the setting may change.
local function put(server, key, held, fields, state)
  fields[#fields + 1] = 'state'
  fields[#fields + 1] = state
  if #state >= PIECES_FROM and #state <= PIECES_TO and not server.takes_long then
    -- Whatever is there has other pieces, or a long value that has cost the hash its small form for good.
    redis.call('DEL', key)
    if server.takes_long == nil then
      redis.call('HSET', key, unpack(fields))
      server.takes_long = redis.pcall('OBJECT', 'ENCODING', key) == 'listpack'
      if server.takes_long then return end
      redis.call('DEL', key)
    end
    in_pieces(fields, state)
  elseif held * 2 ~= #fields then
    redis.call('DEL', key)
  end
  redis.call('HSET', key, unpack(fields))
end

-- Returns the fields of a written lead that people read, flat. A grid without phases writes no `phase`.
local function readable(write)
  local fields = {'score', write[2], 'fit', write[3], 'engagement', write[4], 'stage', write[5], 'grade', write[6], 'updated_at', write[7]}
  if write[10] then
    fields[13] = 'phase'
    fields[14] = write[10]
  end
  return fields
end

-- Returns the state that `put` wrote, false for a lead that is not held.
local function whole(key)
  local state = redis.call('HGET', key, 'state')
  if not state or #state ~= HEAD then return state end
  local all, pieces, sub, byte = redis.call('HGETALL', key), {}, string.sub, string.byte
  for i = 1, #all, 2 do
    local name = all[i]
    local number = byte(name)
    if number and number < 32 then
      pieces[2 * number - 1] = sub(name, 2)
      pieces[2 * number] = all[i + 1]
    end
  end
  return pieces[1] and table.concat(pieces) or state
end

-- What stands beside an empty position is what is left of a state that nobody can go on with.
local function leftover(keys)
  if redis.call('EXISTS', keys[2], keys[3], keys[4]) == 0 then return nil end
  return redis.error_reply('LEFTOVER ' .. keys[1] .. ' is empty but ' .. keys[2] .. ', its rank or its outbox is not')
end

local function restoring(keys)
  return redis.error_reply('RESTORING ' .. keys[1] .. ' is being filled from a checkpoint, or that was cut short')
end

-- While a reader copies the partition (see checkpoint.lua) it must hear which leads a batch changed. Asked before the first
-- write: whatever is wrong with these keys refuses the batch whole. Returns the key to note them under, nil when nobody copies.
local function copying(keys)
  local prefix = string.sub(keys[1], 1, -#'position' - 1)
  if not redis.call('GET', prefix .. 'checkpoint') then return nil end
  redis.call('ZCARD', prefix .. 'changed')
  return prefix .. 'changed'
end

local function note(changed, batch, leads)
  local pairs_ = {}
  for i, lead in ipairs(leads) do
    pairs_[2 * i - 1], pairs_[2 * i] = batch, lead
  end
  in_chunks('ZADD', changed, pairs_)
end

-- Leads by stage are counted in the position: `leads:STAGE`, true as of batch `counted`.
local STAGES = {'contact', 'mql', 'sql', 'opportunity', 'client', 'excluded'}
local COUNTS = {'leads:contact', 'leads:mql', 'leads:sql', 'leads:opportunity', 'leads:client', 'leads:excluded'}

-- How many leads a call of `count` looks at: 5 ms of Redis' time among 1,000,000.
local COUNTED = 1000

-- Counts the leads by stage afresh, COUNTED of them a call, where a version of the worker that did not count wrote the last batch;
-- after the last call `apply` keeps the counts. A lead that is not erased has a rank. ARGV: token, batch, how many leads have been
-- counted, and those of each stage so far. Returns the last of these, as they are now. Nobody but the owner changes a lead.
local function count(keys, args)
  local at = redis.call('HMGET', keys[1], 'owner', 'batch')
  if at[1] ~= args[1] or at[2] ~= args[2] then return fenced(at[1]) end
  try_writing(keys)
  local prefix, first = string.sub(keys[1], 1, -#'position' - 1) .. 'lead:', tonumber(args[3])
  local found, told, fields = {}, {}, {'counted', args[2]}
  for _, lead in ipairs(redis.call('ZREVRANGE', keys[3], first, first + COUNTED - 1)) do
    local stage = redis.call('HGET', prefix .. lead, 'stage')
    if stage then found[stage] = (found[stage] or 0) + 1 end
  end
  for i, stage in ipairs(STAGES) do
    told[i] = tonumber(args[3 + i]) + (found[stage] or 0)
    fields[#fields + 1] = COUNTS[i]
    fields[#fields + 1] = string.format('%d', told[i])
  end
  if first + COUNTED >= redis.call('ZCARD', keys[3]) then redis.call('HSET', keys[1], unpack(fields)) end
  return {first + COUNTED, unpack(told)}
end

-- ARGV: token, number of partitions. Returns the position, field by field.
local function acquire(keys, args)
  local pid, epoch = string.match(args[1], '^(%d+):(%d+):.')
  if not pid then return redis.error_reply('ERR the token is not producer-id:epoch:uuid: ' .. args[1]) end
  local at = redis.call('HMGET', keys[1], 'owner', 'batch', 'restoring')
  if at[3] then return restoring(keys) end
  if at[1] then
    local their_pid, their_epoch = string.match(at[1], '^(%d+):(%d+):')
    if their_pid == pid and tonumber(their_epoch) > tonumber(epoch) then return fenced(at[1]) end
  end
  try_writing(keys)
  if not at[2] then
    local left = leftover(keys)
    if left then return left end
    redis.call('HSET', keys[1], 'partitions', args[2])
  end
  -- `notes`: this owner notes what it changes, see `copying`. One of an older version leaves another's token there.
  redis.call('HSET', keys[1], 'owner', args[1], 'notes', args[1])
  return redis.call('HGETALL', keys[1])
end

-- How many leads a batch makes due at most while a change of the grid is under way: 2 ms of Redis' time among 1,000,000.
local LISTED = 250

-- Whether `a` sorts before `b` by its bytes, as Redis sorts members. Lua's `<` would ask the server's locale.
local function sorts_before(a, b)
  local at, sub, byte = 1, string.sub, string.byte
  while at <= #a and sub(a, at, at + 63) == sub(b, at, at + 63) do at = at + 64 end
  for i = at, at + 63 do
    local ours, theirs = byte(a, i) or -1, byte(b, i) or -1
    if ours ~= theirs then return ours < theirs end
  end
  return false
end

-- Returns how many members of `key` stand at or above (rank, lead) in falling order. Neither need be there any more.
local function standing_above(key, rank, lead)
  local low, high = 0, redis.call('ZCARD', key)
  while low < high do
    local middle = math.floor((low + high) / 2)
    local found = redis.call('ZREVRANGE', key, middle, middle, 'WITHSCORES')
    local score = tonumber(found[2])
    if score > rank or (score == rank and not sorts_before(found[1], lead)) then
      low = middle + 1
    else
      high = middle
    end
  end
  return low
end

-- A change of the grid makes every lead due once: one after the other from FROM on, RATE a second, the highest ranks first; a
-- lead that is due earlier stays so. The position's field `requeue` says how far that is: 'FROM RATE COUNT RANK LEAD', the last
-- two those of the last lead that was made due (none at first). Each batch goes on with the next LISTED leads below, so neither
-- a crash nor another owner changes anything, and whoever folds the same batches again makes the same leads due.
-- No lead is passed over: only a batch changes a rank, and the lead that it writes has been judged by the new grid. Such a lead may
-- be made due all the same, and is judged once more then. A lead that is not erased has a rank.
local function parsed_requeue(text)
  local from_ms, rate, count, rank, lead = string.match(text, '^(%S+) (%S+) (%S+) ?(%S*) ?(.*)$')
  return tonumber(from_ms), tonumber(rate), tonumber(count), tonumber(rank), lead
end

-- Returns the leads that were made due.
local function requeue(keys, text)
  local from_ms, rate, count, rank, lead = parsed_requeue(text)
  local first = rank and standing_above(keys[3], rank, lead) or 0
  local found, due, leads = redis.call('ZREVRANGE', keys[3], first, first + LISTED - 1, 'WITHSCORES'), {}, {}
  for i = 1, #found, 2 do
    due[i] = from_ms + math.floor(count * 1000 / rate)
    due[i + 1] = found[i]
    leads[#leads + 1] = found[i]
    count = count + 1
  end
  if #due > 0 then redis.call('ZADD', keys[2], 'LT', unpack(due)) end
  if #found == 2 * LISTED then
    local upto = string.format('%.0f %.0f %.0f ', from_ms, rate, count) .. found[#found] .. ' ' .. found[#found - 1]
    redis.call('HSET', keys[1], 'requeue', upto)
  else
    redis.call('HSET', keys[1], 'regraded', string.format('%.0f', from_ms + math.floor(count * 1000 / rate)))
    redis.call('HDEL', keys[1], 'requeue')
  end
  return leads
end

-- At `maxmemory` a batch that writes no lead is taken if its outbox entry has so many bytes at most: an erasure that comes too
-- late or is passed on to another owner, or a bad record. Other erasures stand behind it. It is not taken while a change of the
-- grid is under way, because it would make leads due.
local PASSING = 8192

-- KEYS: [6…] lead hashes, in the order of the writes.
-- ARGV: [1] token  [2] batch  [3] batch - 1  [4] the position's fields and values, and its fields to forget  [5] lead, score, fit, engagement, stage,
-- grade, updated_at, due, rank, phase of each write (both msgpack)  [6] outbox entry ('' = none is kept)  [7] text
-- of the grid that this batch begins ('' = none: it goes on with that of the one before), [8] [9] for `requeue`: from when, and
-- how many leads a second  [10…] the packed states.
-- Batch numbers and offsets are text: Lua writes numbers from 1e14 on as 1e+14.
-- smaller: take only a batch after which the leads hold no more than before.
local function write_batch(keys, args, smaller)
  local at = redis.call('HMGET', keys[1], 'owner', 'batch', 'rebuild', 'requeue', 'counted', unpack(COUNTS))
  if at[1] ~= args[1] then return fenced(at[1]) end
  local batch = at[2] or '0'
  if batch == args[2] then return 'ALREADY' end
  if batch ~= args[3] then return 'GAP' end

  try_writing(keys)
  local position, forgotten = unpack(cmsgpack.unpack(args[4]))
  local writes = cmsgpack.unpack(args[5])
  if #writes ~= #keys - 5 or #writes ~= #args - 9 then
    return redis.error_reply('ERR ' .. #writes .. ' writes, ' .. (#keys - 5) .. ' lead keys, ' .. (#args - 9) .. ' states')
  end
  if smaller and #writes == 0 and args[7] == '' and (at[4] or #args[6] > PASSING) then return full() end
  local due_in, due_out, rank_in, rank_out, moved, held = {}, {}, {}, {}, {}, {}
  for i, write in ipairs(writes) do
    if smaller and write[2] ~= '' and #args[9 + i] > #(whole(keys[5 + i]) or '') then return full() end
    local before, after = redis.call('HGET', keys[5 + i], 'stage'), write[5]
    held[i] = redis.call('HLEN', keys[5 + i])  -- here, where a right that is missing still refuses the batch whole
    if before ~= after then
      if before then moved[before] = (moved[before] or 0) - 1 end
      moved[after] = (moved[after] or 0) + 1
    end
    local lead, due, rank = write[1], write[8], write[9]
    if due then
      due_in[#due_in + 1] = due
      due_in[#due_in + 1] = lead
    else
      due_out[#due_out + 1] = lead
    end
    if rank then
      if rank ~= rank then return redis.error_reply('ERR a rank is not a number') end
      rank_in[#rank_in + 1] = rank
      rank_in[#rank_in + 1] = lead
    else
      rank_out[#rank_out + 1] = lead
    end
  end

  local going_on = at[4]
  if args[7] ~= '' then going_on = args[8] .. ' ' .. args[9] .. ' 0' end
  if going_on then
    redis.call('ZREVRANGE', keys[3], 0, 0)  -- `requeue` asks it after the first write
    local from_ms, rate, done = parsed_requeue(going_on)
    if not (from_ms and rate and done) then
      return redis.error_reply('ERR the field requeue of ' .. keys[1] .. ' is damaged: restore a copy or rebuild the partition')
    end
  end
  local changed = copying(keys)
  -- First, because it alone can still be refused: a stream takes no id at or below its last.
  if args[6] ~= '' then redis.call('XADD', keys[4], args[2] .. '-0', 'entry', args[6]) end
  if args[7] ~= '' then
    redis.call('SET', keys[5], args[7])
    local ends = tonumber(args[8]) + math.floor(redis.call('ZCARD', keys[3]) * 1000 / tonumber(args[9]))
    redis.call('HSET', keys[1], 'regraded', string.format('%.0f', ends))
  end
  local relisted = going_on and requeue(keys, going_on) or {}
  if changed then
    for _, write in ipairs(writes) do relisted[#relisted + 1] = write[1] end
    note(changed, tonumber(args[2]), relisted)
  end
  local server = {}
  for i, write in ipairs(writes) do
    local key, state = keys[5 + i], args[9 + i]
    if write[2] == '' then
      redis.call('DEL', key)
      if state ~= '' then put(server, key, 0, {}, state) end
    else
      put(server, key, held[i], readable(write), state)
    end
  end
  in_chunks('ZADD', keys[2], due_in)
  in_chunks('ZREM', keys[2], due_out)
  in_chunks('ZADD', keys[3], rank_in)
  in_chunks('ZREM', keys[3], rank_out)
  if (at[5] or '0') == batch then
    position[#position + 1] = 'counted'
    position[#position + 1] = args[2]
    for i, stage in ipairs(STAGES) do
      if moved[stage] then
        position[#position + 1] = COUNTS[i]
        position[#position + 1] = string.format('%d', (at[5 + i] or 0) + moved[stage])
      end
    end
  end
  redis.call('HSET', keys[1], unpack(position))
  if at[3] then redis.call('HDEL', keys[1], 'rebuild') end
  if #forgotten > 0 then redis.call('HDEL', keys[1], unpack(forgotten)) end
  return 'DONE'
end

local function apply(keys, args)
  return write_batch(keys, args, false)
end

-- `apply` for a Redis at `maxmemory`: takes a batch of which each write is a mark, a removal, or a state no larger than the one
-- that it replaces. Takes a small one without writes too, and one that begins a grid, which every erasure behind it would wait
-- for. Its outbox entry is on top of that, until it is published and trimmed.
local function apply_smaller(keys, args)
  return write_batch(keys, args, true)
end

-- KEYS: position, then lead hashes. ARGV: token ('' = anybody), batch, bytes. One state for each, nil for a lead that is not
-- held, and none after the one that brings them to so many bytes ('inf' = no limit); nil alone when the partition is another's,
-- or not at that batch.
local function load(keys, args)
  if args[1] ~= '' then
    local at = redis.call('HMGET', keys[1], 'owner', 'batch')
    if at[1] ~= args[1] or (at[2] or '0') ~= args[2] then return false end
  end
  local states, left = {}, args[3] == 'inf' and math.huge or tonumber(args[3])
  for i = 2, #keys do
    local state = whole(keys[i])
    states[i - 1] = state
    if state then left = left - #state end
    if left <= 0 then break end
  end
  return states
end

-- KEYS: position, due. ARGV: token ('' = anybody), batch, instant (ms), how many. Returns the leads due by then, earliest first, behind
-- 1 where `requeue` has yet to make some due by then, else 0; nil when the partition is another's, or not at that batch.
local function due(keys, args)
  local at = redis.call('HMGET', keys[1], 'owner', 'batch', 'requeue')
  if args[1] ~= '' and (at[1] ~= args[1] or (at[2] or '0') ~= args[2]) then return false end
  local unlisted = 0
  if at[3] then
    local from_ms, rate, count = parsed_requeue(at[3])
    if from_ms + math.floor(count * 1000 / rate) <= tonumber(args[3]) then unlisted = 1 end
  end
  return {unlisted, redis.call('ZRANGEBYSCORE', keys[2], '-inf', args[3], 'LIMIT', 0, args[4])}
end

-- ARGV: token, published, published + 1, horizon ('' = leave it). Neither number moves back: a call whose reply was lost
-- can reach Redis after the calls that followed its repeat. So a horizon of a clock that ran ahead would stay for as long:
-- none is past this server's own time.
local function trim(keys, args)
  local at = redis.call('HMGET', keys[1], 'owner', 'published', 'horizon')
  if at[1] ~= args[1] then return fenced(at[1]) end
  try_writing(keys)
  redis.call('XTRIM', keys[4], 'MINID', '=', args[3] .. '-0')
  if tonumber(at[2] or '0') < tonumber(args[2]) then redis.call('HSET', keys[1], 'published', args[2]) end
  if args[4] ~= '' and (not at[3] or tonumber(at[3]) < tonumber(args[4])) then
    local now = redis.call('TIME')
    local now_ms = now[1] * 1000 + math.floor(now[2] / 1000)
    redis.call('HSET', keys[1], 'horizon', string.format('%.0f', math.min(tonumber(args[4]), now_ms)))
  end
  return 'DONE'
end

-- An operator's word that an emptied partition may be filled again; `apply` takes it back with the first batch.
local function allow_rebuild(keys)
  local batch = redis.call('HGET', keys[1], 'batch')
  if batch then
    return redis.error_reply('HELD ' .. keys[1] .. ' holds state up to batch ' .. batch .. ', there is nothing to rebuild')
  end
  if redis.call('HGET', keys[1], 'restoring') then return restoring(keys) end
  try_writing(keys)
  local left = leftover(keys)
  if left then return left end
  redis.call('HSET', keys[1], 'rebuild', '1')
  return 'DONE'
end

-- An operator's word that the next owner reads other input topics than those until now. ARGV: their names, by commas.
local function allow_inputs(keys, args)
  if not redis.call('HGET', keys[1], 'batch') then
    return redis.error_reply('EMPTY ' .. keys[1] .. ' holds no state: its first owner begins with the topics that it is given')
  end
  try_writing(keys)
  redis.call('HSET', keys[1], 'inputs', args[1])
  return 'DONE'
end

-- KEYS: the namespace's order of grids (hash). ARGV: the order that is expected ('' = none), the new one, the text of its last grid
-- ('' = it stays).
local function swap(keys, args)
  local held = redis.call('HGET', keys[1], 'order') or ''
  if held ~= args[1] then return 0 end
  if args[3] ~= '' then
    redis.call('HSET', keys[1], 'order', args[2], 'text', args[3])
  else
    redis.call('HSET', keys[1], 'order', args[2])
  end
  return 1
end

-- The commands that this user may not run on KEYS[1].
local function rights(keys)
  local found = missing(FROM_OUTSIDE, keys[1], missing(READING, keys[1], missing(WRITING, keys[1], {})))
  if not redis.acl_check_cmd('OBJECT', 'ENCODING', keys[1]) then found[#found + 1] = 'OBJECT|ENCODING' end
  return found
end

local function register(name, callback, flags)
  redis.register_function{function_name = LIBRARY .. '_' .. name, callback = callback, flags = flags}
end

-- Without a flag Redis refuses a function whole where it is over `maxmemory` when the function begins, and lets one that has begun
-- go on. `allow-oom`: what is small and frees memory, or leads to what does. `no-writes` is never refused.
register('acquire', acquire, {'allow-oom'})
register('count', count, {'allow-oom'})
register('apply', apply, {})
register('apply_smaller', apply_smaller, {'allow-oom'})
register('trim', trim, {'allow-oom'})
register('allow_rebuild', allow_rebuild, {})
register('allow_inputs', allow_inputs, {})
register('swap', swap, {})
register('load', load, {'no-writes'})
register('due', due, {'no-writes'})
register('rights', rights, {'no-writes'})
