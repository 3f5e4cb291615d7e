-- Returns a delivery count from the range that a script can add to and send back. Any client may set it to any integer; a
-- Lua number is exact up to 2^53, and one above 10^17 is sent as a text that no command takes.
local function clamped(count) return math.max(0, math.min(count, 2 ^ 53 - 1)) end

