DROP TABLE visitors;
