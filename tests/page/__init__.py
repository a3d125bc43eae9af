"""The page: its logic by AppTest, what people see in Chromium, and pictures of every state."""
