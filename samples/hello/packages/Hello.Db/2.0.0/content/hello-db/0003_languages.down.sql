DELETE FROM greetings WHERE language <> 'en';
ALTER TABLE greetings DROP COLUMN language;
