-- Renews the leases of a consumer, tells what waits, and now and then looks for entries whose consumer vanished.
--
-- KEYS  stream, dead letters, consumers' hash
-- ARGV  group, me, lease (ms), lease of consumers that told none (ms),
--       backoff: initial (ms), multiplier, max (ms), state (JSON object),
--       look in the stream, look among the dead letters (1 or 0), max attempts,
--       how many of the following ids are the stream's, id…
-- Reply {ids in the stream that belong to somebody else, the same among the dead letters, number moved to eventbus:suspect,
--        1 if a suspect is due in the stream, the same among the dead letters, delayed, replays,
--        number of those of vanished consumers, or of lost replies, that were trimmed meanwhile}
local stream, dead_letters, hash = KEYS[1], KEYS[2], KEYS[3]
local group, me, lease, foreign_lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4])
local initial, multiplier, longest = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local max_attempts, of_stream = tonumber(ARGV[11]), tonumber(ARGV[12])
local DAY, HOUR, FIRST_ID = 86400000, 3600000, 13
-- `unpack` fails near 8,000 values.
local MAX_AT_ONCE = 1000

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- One consumer of the group looks in each third of a lease. A look yet to come was written by a server whose clock was
-- ahead, nonsense by somebody else: neither may keep everybody from looking.
local swept = tonumber(redis.pcall('HGET', hash, 'swept')) or 0
local may_look = not (math.abs(now - swept) < lease / 3)

-- No lease is longer than an hour; where the hash cannot be read, anybody's may be as long.
local function lease_of(consumer)
  local field = redis.pcall('HGET', hash, 'c:' .. consumer)
  if type(field) == 'table' then return math.max(HOUR, foreign_lease) end
  local known, state = pcall(cjson.decode, field)
  local told = known and type(state) == 'table' and tonumber(state.lease)
  return math.max(lease, told and math.min(math.floor(told), HOUR) or foreign_lease)
end

-- Entries pending with nobody were trimmed, or acknowledged by whoever took them over: their handlers may finish.
local function renew(key, first, last)
  local lost = {}
  for page = first, last, MAX_AT_ONCE do
    local renewal = { key, group, me, 0 }
    for i = page, math.min(page + MAX_AT_ONCE - 1, last) do
      local pending = redis.call('XPENDING', key, group, ARGV[i], ARGV[i], 1)[1]
      if pending then
        local list = pending[2] == me and renewal or lost
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

-- A reply that never arrived, or a call cut off when the lease ended: no attempt. Delayed with none left it would be
-- taken for one whose dead letter was refused, and dead-lettered unhandled: a suspect may be tried once more.
local function let_go(key, id, attempts)
  local begun = math.max(attempts - 1, 0)
  local pool = begun < max_attempts and 'eventbus:delayed' or 'eventbus:suspect'
  return #redis.call('XCLAIM', key, group, pool, 0, id, 'IDLE', DAY, 'RETRYCOUNT', begun, 'JUSTID')
end

local function suspect(key, id, attempts)
  local delay = math.min(longest, initial * multiplier ^ math.max(attempts - 1, 0))
  return #redis.call('XCLAIM', key, group, 'eventbus:suspect', 0, id, 'IDLE', math.floor(DAY - delay), 'RETRYCOUNT', attempts,
    'JUSTID')
end

local function around(key, owners, look)
  -- One that is not due yet must not keep everybody from reading.
  local due = #redis.call('XPENDING', key, group, 'IDLE', DAY, '-', '+', 1, 'eventbus:suspect')
  local moved, trimmed, delayed = 0, 0, 0
  for _, owner in ipairs(owners) do
    local name, count = owner[1], tonumber(owner[2])
    if name == 'eventbus:delayed' then
      delayed = count
    elseif name ~= 'eventbus:suspect' and look and may_look then
      local idle = name == me and lease or lease_of(name)
      for _, entry in ipairs(redis.call('XPENDING', key, group, 'IDLE', idle, '-', '+', 256, name)) do
        local pass_on = name == me and let_go or suspect
        local claimed = pass_on(key, entry[1], entry[4])
        trimmed = trimmed + 1 - claimed
        if name ~= me then moved = moved + claimed end
      end
    end
  end
  return due, delayed, moved, trimmed
end

-- A form of ID `id` that sorts as text. A part may need all of 64 bits, which a Lua number does not hold.
local function padded(id)
  local ms, seq = id:match('^(%d+)-(%d+)$')
  return ('0'):rep(20 - #ms) .. ms .. ('0'):rep(20 - #seq) .. seq
end

-- Never ahead of the truth; where the group has to be made again, its age costs only repeats.
local function resume_point(oldest_pending)
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = {}
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if fields.name == group then
      local last = fields['last-delivered-id']
      -- A position that was set back is to be read again from there on, whatever is pending beyond it.
      if oldest_pending and padded(oldest_pending) <= padded(last) then return { v = 1, before = oldest_pending } end
      return { v = 1, after = last }
    end
  end
end

local lost = renew(stream, FIRST_ID, FIRST_ID + of_stream - 1)
local pending = redis.call('XPENDING', stream, group)
local due, delayed, moved, trimmed = around(stream, pending[4] or {}, ARGV[9] == '1')

local lost_replays, due_replays, replays, moved_replays, trimmed_replays = {}, 0, 0, 0, 0
-- Without this group the dead letters were never replayed; a key of another type holds none.
local replaying = redis.pcall('XPENDING', dead_letters, group)
if not replaying.err then
  lost_replays = renew(dead_letters, FIRST_ID + of_stream, #ARGV)
  due_replays, replays, moved_replays, trimmed_replays = around(dead_letters, replaying[4] or {}, ARGV[10] == '1')
end

-- Under memory pressure HSET is refused; the leases are renewed all the same.
if may_look and ARGV[9] .. ARGV[10] ~= '00' then redis.pcall('HSET', hash, 'swept', now) end
local state = cjson.decode(ARGV[8])
state.at = now
redis.pcall('HSET', hash, 'c:' .. me, cjson.encode(state))
local known, resume = pcall(resume_point, pending[2])
if known and resume then redis.pcall('HSET', hash, 'resume', cjson.encode(resume)) end
moved, trimmed = moved + moved_replays, trimmed + trimmed_replays
return { lost, lost_replays, moved, due, due_replays, delayed, replays, trimmed }
