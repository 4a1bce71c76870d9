-- Budgets and breakers of targets, and counts of rules, which all processes share. `redis_client.py` appends this text to
-- `leadpulse.lua`. `memory_limits.py` says the same in Python, with the meaning of each number.
--
-- KEYS[1]: the hash of a target, `{ns:target:NAME}:limits`, or the sorted set of a rule, `{ns:rule:ID}:counted`.

local FAILURES, OPEN_MS, OPEN_MOST_MS, PROBE_MS, STOP_MOST_MS, SKEW_MS = 5, 30000, 900000, 60000, 3600000, 60000
local SLOWEST, REGAINED_PER_MS = 1 / 16, 0.1 / 60000
local LIMITS = {'tokens', 'at', 'slow', 'slowed', 'failures', 'open', 'until', 'probing', 'stopped', 'paused'}

local function limits_of(key)
  local held, found = redis.call('HMGET', key, unpack(LIMITS)), {}
  for i, name in ipairs(LIMITS) do found[name] = tonumber(held[i] or '') or 0 end
  if not held[1] then found.tokens = -1 end
  if not held[3] then found.slow = 1 end
  return found
end

local function factor(held, now)
  return math.min(1, held.slow + math.max(0, now - held.slowed) * REGAINED_PER_MS)
end

-- ARGV: requests, rate, burst, now, spare. Returns for how long to wait, and why.
local function limits_permit(keys, args)
  local key, held, requests, burst, now = keys[1], limits_of(keys[1]), tonumber(args[1]), tonumber(args[3]), tonumber(args[4])
  if held.paused == 1 then return {1000, 'paused'} end
  if held.stopped > now then return {held.stopped - now, 'budget'} end
  if held.open > 0 and held['until'] > now then return {held['until'] - now, 'broken'} end
  if held.tokens < 0 then held.tokens, held.at = burst, now end
  if held.at > now + SKEW_MS then held.at = now end
  local per_ms = tonumber(args[2]) * factor(held, now) / 1000
  held.tokens = math.min(burst, held.tokens + math.max(0, now - held.at) * per_ms)
  local needed, wait = math.min(requests + (tonumber(args[5]) or 0), burst), 0
  if held.tokens + 1e-6 < needed then
    wait = math.max(1, math.floor((needed - held.tokens) / per_ms) + 1)
  else
    held.tokens = math.max(0, held.tokens - math.min(requests, burst))
    if held.open > 0 then redis.call('HSET', key, 'probing', 1, 'until', whole_number(now + PROBE_MS)) end
  end
  redis.call('HSET', key, 'tokens', string.format('%.9f', held.tokens), 'at', whole_number(math.max(held.at, now)),
    'rate', args[2], 'burst', args[3])
  return {wait, wait > 0 and 'budget' or ''}
end

local function stopped(held, after, now)
  return whole_number(math.max(held.stopped, now + math.min(after, STOP_MOST_MS)))
end

-- ARGV: failure, after, now, why
local function limits_report(keys, args)
  local key, held, failure, after, now = keys[1], limits_of(keys[1]), args[1], tonumber(args[2]), tonumber(args[3])
  if failure == '' then
    redis.call('HSET', key, 'failures', 0, 'open', 0, 'probing', 0, 'success', args[3])
    if after > 0 then redis.call('HSET', key, 'stopped', stopped(held, after, now)) end
    return 'DONE'
  end
  local failures, open = held.failures + 1, held.open
  redis.call('HSET', key, 'failures', failures, 'failed', args[3], 'failure', failure, 'why', args[4])
  if after > 0 then
    redis.call('HSET', key, 'slow', string.format('%.9f', math.max(SLOWEST, factor(held, now) / 2)), 'slowed', args[3],
      'stopped', stopped(held, after, now))
  end
  if failure == 'configuration' then
    open = OPEN_MOST_MS
  elseif held.probing == 1 then
    open = math.min(2 * open, OPEN_MOST_MS)
  elseif open > 0 or failures < FAILURES then
    return 'DONE'
  else
    open = OPEN_MS
  end
  redis.call('HSET', key, 'open', open, 'probing', 0, 'until', whole_number(now + open))
  return 'DONE'
end

-- ARGV: id, most, within (ms), now
local function limits_count(keys, args)
  local within, now = tonumber(args[3]), tonumber(args[4])
  redis.call('ZREMRANGEBYSCORE', keys[1], '-inf', whole_number(now - within))
  if redis.call('ZSCORE', keys[1], args[1]) then return 1 end
  if redis.call('ZCARD', keys[1]) >= tonumber(args[2]) then return 0 end
  redis.call('ZADD', keys[1], now, args[1])
  redis.call('PEXPIRE', keys[1], whole_number(within + 60000))
  return 1
end

-- ARGV: '1' or '0'. A target that goes on has its breaker closed.
local function limits_pause(keys, args)
  redis.call('HSET', keys[1], 'paused', args[1])
  if args[1] == '0' then redis.call('HSET', keys[1], 'failures', 0, 'open', 0, 'probing', 0, 'stopped', 0) end
  return 'DONE'
end

register('limits_permit', limits_permit, {'allow-oom'})
register('limits_report', limits_report, {'allow-oom'})
register('limits_count', limits_count, {'allow-oom'})
register('limits_pause', limits_pause, {'allow-oom'})
