-- Removes my name from the group, unless something is pending there, and keeps what I did in the sums of those gone.
--
-- KEYS  stream, dead letters, consumers' hash
-- ARGV  group, me, (name, number) of my counts…
-- Reply 1, or 0 while something is pending
local stream, dead_letters, hash, group, me = KEYS[1], KEYS[2], KEYS[3], ARGV[1], ARGV[2]
if #redis.call('XPENDING', stream, group, '-', '+', 1, me) > 0 then return 0 end
-- Where the group is missing nothing was ever replayed.
local replaying = redis.pcall('XPENDING', dead_letters, group, '-', '+', 1, me)
if #replaying > 0 then return 0 end
redis.call('XGROUP', 'DELCONSUMER', stream, group, me)
redis.pcall('XGROUP', 'DELCONSUMER', dead_letters, group, me)

local known, gone = pcall(cjson.decode, redis.pcall('HGET', hash, 'gone'))
if not known or type(gone) ~= 'table' then gone = {} end
gone.v = 1
for i = 3, #ARGV, 2 do gone[ARGV[i]] = (tonumber(gone[ARGV[i]]) or 0) + tonumber(ARGV[i + 1]) end
redis.pcall('HSET', hash, 'gone', cjson.encode(gone))
redis.pcall('HDEL', hash, 'c:' .. me)
return 1
