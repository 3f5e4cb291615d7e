-- Counts entries without sending them anywhere. Writes nothing.
--
-- KEYS  stream
-- ARGV  an ID (exclusive), an ID (inclusive), at most so many
-- Answers {entries, last ID or false}

-- A missing right has no code inside a script: Redis 7.0 has the one text for it, later ones and Valkey the other.
local function is_right_missing(text)
  return text:find("user executing the script can't", 1, true) or text:find('ACL failure in script', 1, true)
end

local reply = redis.pcall('XRANGE', KEYS[1], '(' .. ARGV[1], ARGV[2], 'COUNT', ARGV[3])
if reply.err then
  if is_right_missing(reply.err) then
    return redis.error_reply('NOPERM the user may not read entries')
  end
  return reply
end
return { #reply, reply[1] and reply[#reply][1] or false }
