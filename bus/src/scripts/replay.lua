-- Has a dead letter handled again by its group: it lies where it is, and becomes pending there.
--
-- KEYS  dead letters
-- ARGV  group, id
-- Reply 1, or 0 where it is being replayed already, or gone
local dead_letters, group, id = KEYS[1], ARGV[1], ARGV[2]
if #redis.call('XRANGE', dead_letters, id, id) == 0 then return 0 end
-- The group may be there.
local created = redis.pcall('XGROUP', 'CREATE', dead_letters, group, '$')
if created.err and not created.err:find('BUSYGROUP', 1, true) then return created end
if #redis.call('XPENDING', dead_letters, group, id, id, 1) > 0 then return 0 end
return #redis.call('XCLAIM', dead_letters, group, 'eventbus:delayed', 0, id, 'IDLE', 86400000, 'RETRYCOUNT', 0, 'FORCE',
  'JUSTID')
