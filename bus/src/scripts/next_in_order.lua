-- The group's oldest entry that is not done, where the order is kept: the pending list is the lock.
--
-- KEYS  stream, consumers' hash
-- ARGV  group, me, lease (ms), lease of consumers that told none (ms), id that I have done or ''
-- Reply {done, what, …}; done: 1, or 0 where the id was not mine, and then nothing follows; what:
--   'entry', pool ('delayed', 'suspect' or ''), id, attempt, fields (false: trimmed meanwhile, and pending no more)
--   'wait', ms until it may be due
--   'empty', the last ID delivered
local stream, hash = KEYS[1], KEYS[2]
local group, me, lease, foreign_lease, done = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local DAY, HOUR = 86400000, 3600000
local POOLS = { ['eventbus:delayed'] = 'delayed', ['eventbus:suspect'] = 'suspect' }

-- No lease is longer than an hour; where the hash cannot be read, anybody's may be as long.
local function lease_of(consumer)
  local field = redis.pcall('HGET', hash, 'c:' .. consumer)
  if type(field) == 'table' then return math.max(HOUR, foreign_lease) end
  local known, state = pcall(cjson.decode, field)
  local told = known and type(state) == 'table' and tonumber(state.lease)
  return math.max(lease, told and math.min(math.floor(told), HOUR) or foreign_lease)
end

local function last_delivered()
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = {}
    for i = 1, #flat, 2 do fields[flat[i]] = flat[i + 1] end
    if fields.name == group then return fields['last-delivered-id'] end
  end
end

if done ~= '' then
  local pending = redis.call('XPENDING', stream, group, done, done, 1)[1]
  if not pending or pending[2] ~= me then return { 0 } end
  redis.call('XACK', stream, group, done)
end

local oldest = redis.call('XPENDING', stream, group, '-', '+', 1)[1]
if not oldest then
  local new = redis.call('XREADGROUP', 'GROUP', group, me, 'COUNT', 1, 'STREAMS', stream, '>')
  if not new then return { 1, 'empty', last_delivered() } end
  local entry = new[1][2][1]
  return { 1, 'entry', '', entry[1], 1, entry[2] }
end

local id, owner, idle, attempts = oldest[1], oldest[2], oldest[3], oldest[4]
local mine = owner == me
local due = mine and 0 or POOLS[owner] and DAY or lease_of(owner)
if idle < due then return { 1, 'wait', due - idle } end
-- Mine and not in my hand: a reply that never arrived, so the same attempt. Another's: it may have killed its consumer.
local pool = mine and '' or POOLS[owner] or 'suspect'
local attempt = mine and math.max(attempts, 1) or attempts + 1
local claimed = redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', attempt)
return { 1, 'entry', pool, id, attempt, claimed[1] and claimed[1][2] or false }
