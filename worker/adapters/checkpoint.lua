-- Checkpoints: a copy of one partition taken while its worker writes, and put back. `store_redis.py` appends this text to
-- `leadpulse.lua`, whose local functions it uses.
--
-- While `{ns:p}:checkpoint` holds a token, each batch notes in the sorted set `{ns:p}:changed` the leads that it writes or makes
-- due (score: the batch). A reader scans the leads in slices. Then it reads the changed leads again, until a call leaves none of them. In that
-- very call the position is read: the last read row of every lead is what the partition holds at that batch.
-- A key that lives for a minute ends the copy of a reader that died. An owner that changes ends it too: Redis may have gone back
-- in time, and what was read before that may never come again.

-- KEYS: the five. ARGV of every function here: [1] the copy's token.

local function flag_and_changed(keys)
  local prefix = string.sub(keys[1], 1, -#'position' - 1)
  return prefix .. 'checkpoint', prefix .. 'changed', prefix .. 'lead:'
end

local function over(keys)
  return redis.error_reply('COPYOVER ' .. keys[1] .. ' took another owner, or the copy was away for too long')
end

-- ARGV: [2] for how long the copy may be silent, ms. Returns {'MORE'} while an abandoned copy's notes are being removed, then
-- {owner, batch}.
local function copy_begin(keys, args)
  local flag, changed = flag_and_changed(keys)
  local at = redis.call('HMGET', keys[1], 'owner', 'batch', 'notes')
  if not at[2] then return redis.error_reply('EMPTY ' .. keys[1] .. ' holds no state: there is nothing to copy') end
  if at[1] ~= at[3] then
    return redis.error_reply('UNNOTED the owner of ' .. keys[1] .. ' is of an older version, which notes no changes: upgrade it first')
  end
  local held = redis.call('GET', flag)
  if held and held ~= args[1] then
    return redis.error_reply('COPYING ' .. keys[1] .. ' is being copied by another worker or command (a minute at most, if that one died)')
  end
  if not held then
    local left = redis.call('ZRANGEBYSCORE', changed, '-inf', '+inf', 'LIMIT', 0, CHUNK)
    if #left > 0 then
      redis.call('ZREM', changed, unpack(left))
      return {'MORE'}
    end
  end
  redis.call('SET', flag, args[1], 'PX', args[2])
  return {at[1] or '', at[2]}
end

-- Returns the batch of a copy that may go on, nil otherwise. ARGV: [2] as above  [3] the owner.
local function still_copying(keys, args)
  local flag = flag_and_changed(keys)
  local at = redis.call('HMGET', keys[1], 'owner', 'batch')
  if redis.call('GET', flag) ~= args[1] or (at[1] or '') ~= args[3] then return nil end
  redis.call('SET', flag, args[1], 'PX', args[2])
  return at[2]
end

-- Rows of *leads*: the lead's fields, when it is due, its rank. Ends with the row that brings them to so many bytes.
local function rows_of(keys, prefix, leads, most)
  local rows = {}
  for i, lead in ipairs(leads) do
    local fields = redis.call('HGETALL', prefix .. lead)
    rows[i] = {lead, fields, redis.call('ZSCORE', keys[2], lead), redis.call('ZSCORE', keys[3], lead)}
    for _, part in ipairs(fields) do most = most - #part end
    if most <= 0 then break end
  end
  return rows
end

-- ARGV: [2] [3] as above  [4] bytes  [5…] leads. Returns {batch, rows}: of as many leads as fit.
local function copy_rows(keys, args)
  local batch = still_copying(keys, args)
  if not batch then return over(keys) end
  local _, _, prefix = flag_and_changed(keys)
  local leads = {}
  for i = 5, #args do leads[i - 4] = args[i] end
  return {batch, rows_of(keys, prefix, leads, tonumber(args[4]))}
end

-- ARGV: [2] [3] [4] as above  [5] leads at most. Returns {batch, rows of leads that changed}, and, where no more are left, the
-- position and the grid's text as of that batch. The copy is over then.
local function copy_changed(keys, args)
  local batch = still_copying(keys, args)
  if not batch then return over(keys) end
  local flag, changed, prefix = flag_and_changed(keys)
  local leads = redis.call('ZRANGEBYSCORE', changed, '-inf', '+inf', 'LIMIT', 0, tonumber(args[5]))
  local rows = rows_of(keys, prefix, leads, tonumber(args[4]))
  if #rows > 0 then redis.call('ZREM', changed, unpack(leads, 1, #rows)) end
  if redis.call('ZCARD', changed) > 0 then return {batch, rows} end
  redis.call('DEL', flag)
  return {batch, rows, redis.call('HGETALL', keys[1]), redis.call('GET', keys[5]) or ''}
end

-- Gives a copy up: nobody notes changes any more.
local function copy_end(keys, args)
  local flag = flag_and_changed(keys)
  if redis.call('GET', flag) == args[1] then redis.call('DEL', flag) end
  return 'DONE'
end

-- Begins to put a checkpoint back into an empty partition, or into one where that was cut short. Nobody acquires it meanwhile.
-- Returns how many leads are left in the schedule and the ranks: call again until there are none.
local function restore_begin(keys, args)
  local at = redis.call('HMGET', keys[1], 'batch', 'restoring')
  if at[1] then
    return redis.error_reply('HELD ' .. keys[1] .. ' holds state up to batch ' .. at[1] .. ', there is nothing to rebuild')
  end
  try_writing(keys)
  if not at[2] then
    local left = leftover(keys)
    if left then return left end
  end
  redis.call('HSET', keys[1], 'restoring', args[1])
  redis.call('DEL', keys[4], keys[5])
  for place = 2, 3 do
    local left = redis.call('ZRANGEBYSCORE', keys[place], '-inf', '+inf', 'LIMIT', 0, CHUNK)
    if #left > 0 then redis.call('ZREM', keys[place], unpack(left)) end
  end
  return redis.call('ZCARD', keys[2]) + redis.call('ZCARD', keys[3])
end

local function restored_by_another(keys)
  return redis.error_reply('RESTORING ' .. keys[1] .. ' is being filled by another `leadpulse rebuild`')
end

-- KEYS: [6…] lead hashes. ARGV: [2] lead, score, fit, engagement, stage, grade, updated_at, due, rank, phase of each (msgpack)  [3…] states.
local function restore_rows(keys, args)
  if redis.call('HGET', keys[1], 'restoring') ~= args[1] then return restored_by_another(keys) end
  try_writing(keys)
  local server = {}
  for i, write in ipairs(cmsgpack.unpack(args[2])) do
    local key, state = keys[5 + i], args[2 + i]
    redis.call('DEL', key)
    if write[2] ~= '' then
      put(server, key, 0, readable(write), state)
    elseif state ~= '' then
      put(server, key, 0, {}, state)
    end
    for place = 2, 3 do
      local score = write[6 + place]
      if score then redis.call('ZADD', keys[place], score, write[1]) else redis.call('ZREM', keys[place], write[1]) end
    end
  end
  return 'DONE'
end

-- ARGV: [2] the grid's text  [3…] the position's fields and values. The partition may be acquired from here on.
local function restore_end(keys, args)
  if redis.call('HGET', keys[1], 'restoring') ~= args[1] then return restored_by_another(keys) end
  try_writing(keys)
  if args[2] ~= '' then redis.call('SET', keys[5], args[2]) end
  redis.call('DEL', keys[1])
  redis.call('HSET', keys[1], unpack(args, 3))
  return 'DONE'
end

register('copy_begin', copy_begin, {})
register('copy_rows', copy_rows, {})
register('copy_changed', copy_changed, {})
register('copy_end', copy_end, {})
register('restore_begin', restore_begin, {})
register('restore_rows', restore_rows, {})
register('restore_end', restore_end, {})
