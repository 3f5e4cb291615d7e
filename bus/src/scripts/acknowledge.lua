-- Acknowledges entries that still belong to me: past their lease, or replays, which end with it.
--
-- KEYS  stream or dead letters
-- ARGV  group, me, delete them too (1 or 0), id…
-- Reply the number acknowledged
local source, group, me, delete = KEYS[1], ARGV[1], ARGV[2], ARGV[3] == '1'
local acknowledged = 0
for i = 4, #ARGV do
  local pending = redis.call('XPENDING', source, group, ARGV[i], ARGV[i], 1)[1]
  if pending and pending[2] == me then
    acknowledged = acknowledged + redis.call('XACK', source, group, ARGV[i])
    if delete then redis.call('XDEL', source, ARGV[i]) end
  end
end
return acknowledged
