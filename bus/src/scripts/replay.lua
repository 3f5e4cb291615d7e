-- Makes a dead letter pending for its group where it is, so that it is handled again.
--
-- KEYS  dead_letters
-- ARGV  group, id
-- Reply 1, or 0 if it is being replayed already or does not exist
local dead_letters, group, id = KEYS[1], ARGV[1], ARGV[2]
if #redis.call('XRANGE', dead_letters, id, id) == 0 then return 0 end
-- The group may exist.
local created = redis.pcall('XGROUP', 'CREATE', dead_letters, group, '$')
if created.err and not created.err:find('BUSYGROUP', 1, true) then return created end
if #redis.call('XPENDING', dead_letters, group, id, id, 1) > 0 then return 0 end
return #redis.call('XCLAIM', dead_letters, group, 'eventbus:delayed', 0, id, 'IDLE', 86400000, 'RETRYCOUNT', 0, 'FORCE',
  'JUSTID')
