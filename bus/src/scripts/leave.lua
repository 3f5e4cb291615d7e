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

local known, gone = pcall(cjson.decode, redis.pcall('HGET', hash, 'gone'))
if not known or type(gone) ~= 'table' then gone = {} end
gone.v = 1
for i = 3, #ARGV, 2 do gone[ARGV[i]] = (tonumber(gone[ARGV[i]]) or 0) + tonumber(ARGV[i + 1]) end
redis.pcall('HSET', hash, 'gone', cjson.encode(gone))
redis.pcall('HDEL', hash, 'c:' .. consumer)
return 1
