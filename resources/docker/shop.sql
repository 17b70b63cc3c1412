CREATE TABLE users (id SERIAL PRIMARY KEY, name VARCHAR(100) NOT NULL, email VARCHAR(100) UNIQUE NOT NULL, created_at DATE NOT NULL);
CREATE TABLE orders (id SERIAL PRIMARY KEY, order_date TIMESTAMP DEFAULT CURRENT_TIMESTAMP, total_amount DECIMAL(10,2) NOT NULL, created_at DATE NOT NULL);
INSERT INTO users (name, email, created_at) VALUES ('Alice', 'alice@example.com', '2024-01-15'), ('Bob', 'bob@example.com', '2024-02-20');
INSERT INTO orders (total_amount, created_at) VALUES (19.99, '2024-03-01'), (250.00, '2024-03-02');
