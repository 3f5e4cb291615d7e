-- Removes a consumer that holds nothing and adds its counts to the sums of removed consumers.
--
-- KEYS  stream, dead_letters, consumers
-- ARGV  group, consumer, {name, count}…
-- Reply 1, or 0 while an entry is pending under its name
local stream, dead_letters, hash, group, consumer = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
if #redis.call('XPENDING', stream, group, '-', '+', 1, consumer) > 0 then return 0 end
-- Without the group nothing was ever replayed.
local replaying = redis.pcall('XPENDING', dead_letters, group, '-', '+', 1, consumer)
if #replaying > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', stream, group, consumer)
redis.pcall('XGROUP', 'DELCONSUMER', dead_letters, group, consumer)

local counts = {}
for i = 3, #ARGV, 2 do counts[ARGV[i]] = tonumber(ARGV[i + 1]) end
add_to(hash, 'gone', counts, { v = 1 })
redis.pcall('HDEL', hash, 'c:' .. consumer)
return 1
