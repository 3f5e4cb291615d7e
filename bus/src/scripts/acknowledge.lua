-- Acknowledges entries whose lease is over, where they still belong to me.
--
-- KEYS  stream
-- ARGV  group, me, id…
-- Reply the number acknowledged
local stream, group, me = KEYS[1], ARGV[1], ARGV[2]
local acknowledged = 0
for i = 3, #ARGV do
  local pending = redis.call('XPENDING', stream, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == me then
    acknowledged = acknowledged + redis.call('XACK', stream, group, ARGV[i])
  end
end
return acknowledged
