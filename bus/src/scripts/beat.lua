-- Renews the leases of a consumer, and now and then looks for entries whose consumer vanished.
--
-- KEYS  stream, consumers' hash
-- ARGV  group, me, lease (ms), look (1 or 0), lease of consumers without a field (ms),
--       backoff: initial (ms), multiplier, max (ms), state (JSON object), id…
-- Reply {ids that belong to somebody else, number moved to ecg:suspect, 1 if a suspect is due, parked}
local stream, hash = KEYS[1], KEYS[2]
local group, me, lease, look, foreign_lease = ARGV[1], ARGV[2], tonumber(ARGV[3]), ARGV[4] == '1', tonumber(ARGV[5])
local initial, multiplier, longest = tonumber(ARGV[6]), tonumber(ARGV[7]), tonumber(ARGV[8])
local DAY, FIRST_ID = 86400000, 10

-- An entry that is pending with nobody was trimmed, or acknowledged by whoever took it over: its handler may finish.
local lost, renewal = {}, {'XCLAIM', stream, group, me, 0}
for i = FIRST_ID, #ARGV do
  local pending = redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == me then
    renewal[#renewal + 1] = ARGV[i]
  elseif pending then
    lost[#lost + 1] = ARGV[i]
  end
end
if #renewal > 5 then
  renewal[#renewal + 1] = 'IDLE'
  renewal[#renewal + 1] = 0
  renewal[#renewal + 1] = 'JUSTID'
  redis.call(unpack(renewal))
end

local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
-- One consumer of the group looks in each third of a lease.
local swept = tonumber(redis.call('HGET', hash, 'swept') or 0)
look = look and now - swept >= lease / 3

local function lease_of(consumer)
  local field = redis.call('HGET', hash, 'c:' .. consumer)
  if not field then return math.max(lease, foreign_lease) end
  local known, state = pcall(cjson.decode, field)
  return math.max(lease, known and type(state) == 'table' and tonumber(state.lease) or 0)
end

-- One that is not due yet must not keep everybody from reading.
local due = #redis.call('XPENDING', stream, group, 'IDLE', DAY, '-', '+', 1, 'ecg:suspect')
local moved, parked = 0, 0
for _, owner in ipairs(redis.call('XPENDING', stream, group)[4] or {}) do
  local name, count = owner[1], tonumber(owner[2])
  if name == 'ecg:parked' then
    parked = parked + count
  elseif name ~= 'ecg:suspect' and look then
    local idle = name == me and lease or lease_of(name)
    for _, entry in ipairs(redis.call('XPENDING', stream, group, 'IDLE', idle, '-', '+', 256, name)) do
      local id, attempts = entry[1], entry[4]
      if name == me then
        -- A reply that never arrived: no handler was called, so the delivery is no attempt.
        redis.call('XCLAIM', stream, group, 'ecg:parked', 0, id, 'IDLE', DAY, 'RETRYCOUNT', math.max(attempts - 1, 0),
          'JUSTID')
      else
        local delay = math.min(longest, initial * multiplier ^ math.max(attempts - 1, 0))
        redis.call('XCLAIM', stream, group, 'ecg:suspect', 0, id, 'IDLE', math.floor(DAY - delay), 'RETRYCOUNT', attempts,
          'JUSTID')
        moved = moved + 1
      end
    end
  end
end

-- Under memory pressure HSET is refused; the leases are renewed all the same.
if look then redis.pcall('HSET', hash, 'swept', now) end
local state = cjson.decode(ARGV[9])
state.at = now
redis.pcall('HSET', hash, 'c:' .. me, cjson.encode(state))
return {lost, moved, due, parked}
