-- Acknowledges what the caller has done, then returns the group's oldest entry that is not done. With order kept, the
-- pending list is the lock.
--
-- KEYS  stream, consumers
-- ARGV  group, consumer, lease, foreign_lease, done
-- Reply {0} if the caller does not hold `done` any more; else one of
--   {1, 'entry', pool ('delayed', 'suspect' or ''), id, attempt, fields (false: trimmed, and not pending any more)}
--   {1, 'wait', ms until the oldest entry may be due}
--   {1, 'empty', last delivered ID}
local stream, hash = KEYS[1], KEYS[2]
local group, consumer, lease, foreign_lease, done = ARGV[1], ARGV[2], tonumber(ARGV[3]), tonumber(ARGV[4]), ARGV[5]
local DAY = 86400000
local POOLS = { ['eventbus:delayed'] = 'delayed', ['eventbus:suspect'] = 'suspect' }

local function last_delivered()
  for _, flat in ipairs(redis.call('XINFO', 'GROUPS', stream)) do
    local fields = record(flat)
    if fields.name == group then return fields['last-delivered-id'] end
  end
end

if done ~= '' then
  local pending = redis.call('XPENDING', stream, group, done, done, 1)[1]
  if not pending or pending[2] ~= consumer then return { 0 } end
  redis.call('XACK', stream, group, done)
end

local oldest = redis.call('XPENDING', stream, group, '-', '+', 1)[1]
if not oldest then
  local new = redis.call('XREADGROUP', 'GROUP', group, consumer, 'COUNT', 1, 'STREAMS', stream, '>')
  if not new then return { 1, 'empty', last_delivered() } end
  local entry = new[1][2][1]
  return { 1, 'entry', '', entry[1], 1, entry[2] }
end

local id, owner, idle, begun = oldest[1], oldest[2], oldest[3], clamped(oldest[4])
local mine = owner == consumer
local due, is_ours = mine and 0 or DAY, true
if not mine and not POOLS[owner] then due, is_ours = lease_of(owner, hash, lease, foreign_lease) end
if idle < due then return { 1, 'wait', due - idle } end
-- Calls of another program are no attempts.
if not is_ours then begun = 0 end
-- The caller holds it but does not know it: a reply was lost, so it is the same attempt. Another consumer's entry may have
-- killed that consumer.
local pool = mine and '' or POOLS[owner] or 'suspect'
local attempt = mine and math.max(begun, 1) or begun + 1
local claimed = redis.call('XCLAIM', stream, group, consumer, 0, id, 'RETRYCOUNT', attempt)
return { 1, 'entry', pool, id, attempt, claimed[1] and claimed[1][2] or false }
