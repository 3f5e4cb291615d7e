-- Acknowledges entries that the caller still holds.
--
-- KEYS  source
-- ARGV  group, consumer, delete, {id}…
-- Reply number of acknowledged entries
local source, group, consumer, delete = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local acknowledged = 0
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', source, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == consumer then
    acknowledged = acknowledged + redis.call('XACK', source, group, ARGV[i])
    if delete then redis.call('XDEL', source, ARGV[i]) end
  end
end
return acknowledged
