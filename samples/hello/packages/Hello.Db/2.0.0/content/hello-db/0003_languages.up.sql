ALTER TABLE greetings ADD COLUMN language TEXT NOT NULL DEFAULT 'en';
INSERT INTO greetings (text, language) VALUES ('Hallo', 'de'), ('Bonjour', 'fr');
