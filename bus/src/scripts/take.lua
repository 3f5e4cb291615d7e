-- Takes entries that are due from those that nobody has in hand; each take is an attempt.
--
-- KEYS  stream
-- ARGV  group, me, from (ecg:parked or ecg:suspect), count
-- Reply {{id, attempt, fields}…}; without fields: trimmed meanwhile, and pending no more
local stream, group, me, from = KEYS[1], ARGV[1], ARGV[2], ARGV[3]
local taken = {}
for _, entry in ipairs(redis.call('XPENDING', stream, group, 'IDLE', 86400000, '-', '+', ARGV[4], from)) do
  local id, attempt = entry[1], entry[4] + 1
  local claimed = redis.call('XCLAIM', stream, group, me, 0, id, 'RETRYCOUNT', attempt)
  taken[#taken + 1] = {id, attempt, claimed[1] and claimed[1][2] or false}
end
return taken
