-- Renews the leases of a consumer, reports what is delayed in the group, and at intervals moves the entries of vanished
-- consumers to the suspects.
--
-- KEYS  stream, dead_letters, consumers
-- ARGV  group, consumer, lease, foreign_lease, initial_delay, multiplier, max_delay, state, search_stream,
--       search_dead_letters, max_attempts, stream_ids, {id}…
-- Reply values by name: lost, lost_replays, moved, trimmed, due, due_replays, delayed, replays
local stream, dead_letters, hash = KEYS[1], KEYS[2], KEYS[3]
local group, consumer, lease, foreign_lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local initial_delay, multiplier, max_delay = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local state, search_stream, search_dead_letters = cjson.decode(ARGV[8]), ARGV[9] == '1', ARGV[10] == '1'
local max_attempts, stream_ids = tonumber(ARGV[11]), tonumber(ARGV[12])
local DAY, FIRST_ID = 86400000, 13
-- `unpack` fails near 8,000 values.
local MAX_AT_ONCE = 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- One consumer of the group searches in each third of a lease. A time in the future was written by a server whose clock
-- was ahead, other text by another program: neither may stop the search for good.
local searched_at = tonumber(redis.pcall('HGET', hash, 'swept')) or 0
local may_search = not (math.abs(now - searched_at) < lease / 3)

-- Renews the entries that the caller holds. Returns those that another consumer holds. An entry that is not pending was
-- trimmed, or acknowledged by a consumer that claimed it: its handler may finish.
local function renew(key, first, last)
  local lost = {}
  for page = first, last, MAX_AT_ONCE do
    local renewal = { key, group, consumer, 0 }
    for i = page, math.min(page + MAX_AT_ONCE - 1, last) do
      local pending = redis.call('XPENDING', key, group, ARGV[i], ARGV[i], 1)[1]
      if pending then
        local list = pending[2] == consumer and renewal or lost
        list[#list + 1] = ARGV[i]
      end
    end
    if #renewal > 4 then
      for _, option in ipairs({ 'IDLE', 0, 'JUSTID' }) do renewal[#renewal + 1] = option end
      redis.call('XCLAIM', unpack(renewal))
    end
  end
  return lost
end

-- Releases an entry of the caller that the caller does not know. A lost reply or a call cut off at the end of its lease
-- is not an attempt. If no attempt is left the entry becomes a suspect: delayed, it would be taken for a refused dead letter
-- and be dead-lettered without a handler call. A suspect with more than `max_attempts` would be too, and another client
-- may have claimed the entry for the caller with any count. Returns 0 if the entry was trimmed, else 1.
local function release_own(key, id, attempts)
  local begun = math.min(math.max(attempts - 1, 0), max_attempts)
  local pool = begun < max_attempts and 'eventbus:delayed' or 'eventbus:suspect'
  return #redis.call('XCLAIM', key, group, pool, 0, id, 'IDLE', DAY, 'RETRYCOUNT', begun, 'JUSTID')
end

-- Makes an entry of a vanished consumer a suspect, due after the backoff of its attempts. Returns 0 if the entry was
-- trimmed, else 1.
local function release_abandoned(key, id, attempts)
  local delay = math.min(max_delay, initial_delay * multiplier ^ math.max(attempts - 1, 0))
  return #redis.call('XCLAIM', key, group, 'eventbus:suspect', 0, id, 'IDLE', math.floor(DAY - delay), 'RETRYCOUNT',
    attempts, 'JUSTID')
end

-- Returns 1 if a suspect is due, else 0; and how many entries are delayed, were moved to the suspects, and were trimmed.
local function inspect(key, owners, search)
  -- A suspect that is not due yet must not stop reading.
  local due = #redis.call('XPENDING', key, group, 'IDLE', DAY, '-', '+', 1, 'eventbus:suspect')
  local moved, trimmed, delayed = 0, 0, 0
  for _, owner in ipairs(owners) do
    local name, count = owner[1], tonumber(owner[2])
    if name == 'eventbus:delayed' then
      delayed = count
    elseif name ~= 'eventbus:suspect' and search and may_search then
      local is_own = name == consumer
      local idle, is_ours = lease, true
      if not is_own then idle, is_ours = lease_of(name, hash, lease, foreign_lease) end
      local release = is_own and release_own or release_abandoned
      for _, entry in ipairs(redis.call('XPENDING', key, group, 'IDLE', idle, '-', '+', 256, name)) do
        -- Calls of another program are no attempts.
        local claimed = release(key, entry[1], is_ours and clamped(entry[4]) or 0)
        trimmed = trimmed + 1 - claimed
        if not is_own then moved = moved + claimed end
      end
    end
  end
  return due, delayed, moved, trimmed
end

-- Returns the resume point of the group, with the time: never after an unfinished entry. Its age costs repeats only.
local function resume_point(oldest_pending)
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = record(flat)
    if fields.name == group then
      local last = fields['last-delivered-id']
      -- A position that was set back is read again from there, whatever is pending beyond it.
      if oldest_pending and not before(last, oldest_pending) then
        return { v = 1, at = now, before = oldest_pending }
      end
      return { v = 1, at = now, after = last }
    end
  end
end

local lost = renew(stream, FIRST_ID, FIRST_ID + stream_ids - 1)
local pending = redis.call('XPENDING', stream, group)
local due, delayed, moved, trimmed = inspect(stream, pending[4] or {}, search_stream)

local lost_replays, due_replays, replays, moved_replays, trimmed_replays = {}, 0, 0, 0, 0
-- Without this group the dead letters were never replayed; a key of another type holds none.
local replaying = redis.pcall('XPENDING', dead_letters, group)
if not replaying.err then
  lost_replays = renew(dead_letters, FIRST_ID + stream_ids, #ARGV)
  due_replays, replays, moved_replays, trimmed_replays = inspect(dead_letters, replaying[4] or {}, search_dead_letters)
end

-- Without free memory HSET is refused; the leases are renewed all the same.
if may_search and (search_stream or search_dead_letters) then redis.pcall('HSET', hash, 'swept', now) end
state.at = now
redis.pcall('HSET', hash, 'c:' .. consumer, cjson.encode(state))
local ok, resume = pcall(resume_point, pending[2])
if ok and resume then redis.pcall('HSET', hash, 'resume', cjson.encode(resume)) end
return {
  'lost', lost, 'lost_replays', lost_replays, 'moved', moved + moved_replays, 'trimmed', trimmed + trimmed_replays,
  'due', due, 'due_replays', due_replays, 'delayed', delayed, 'replays', replays,
}
